//! A disk as it is written to a machine: the boot partition and the first slot. The second slot and the state partition
//! are made by systemd-repart at the first boot, on however large a disk.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

use super::tools::Tools;
use super::{Generation, Recipe, directory, kernel, store};

const LOADER: &str = "timeout menu-disabled\neditor no\nauto-entries no\nauto-firmware no\nbeep no\n";
/// As in `images/debian/repart.d`.
const BOOT_SIZE: &str = "256M";
const STORE_SIZE: &str = "384M";
const VERITY_SIZE: &str = "16M";

pub(super) fn write(tools: &Tools, generation: &Generation, recipe: &Recipe) -> anyhow::Result<PathBuf> {
    let place = store::place(&generation.version);
    let boot = place.join("esp");
    lay_out_boot_partition(tools, generation, recipe, &boot)?;
    let definitions = place.join("repart.d");
    fs::create_dir_all(&definitions)?;
    let partition =
        |name: &str, text: String| fs::write(definitions.join(name), format!("[Partition]\n{text}"));
    partition(
        "10-esp.conf",
        format!(
            "Type=esp\nLabel=quintet-esp\nFormat=vfat\nCopyFiles={}:/\nSizeMinBytes={BOOT_SIZE}\n\
             SizeMaxBytes={BOOT_SIZE}\n",
            tools.inside(&boot).display()
        ),
    )?;
    for (name, kind, uuid, blocks, size) in [
        ("20-root.conf", "root", &generation.store_uuid, &generation.store, STORE_SIZE),
        ("21-verity.conf", "root-verity", &generation.verity_uuid, &generation.verity, VERITY_SIZE),
    ] {
        let blocks = tools.inside(blocks);
        partition(
            name,
            format!(
                "Type={kind}\nLabel=quintet_{}\nUUID={uuid}\nReadOnly=yes\nCopyBlocks={}\nSizeMinBytes={size}\n\
                 SizeMaxBytes={size}\n",
                generation.version,
                blocks.display()
            ),
        )?;
    }
    let raw = directory().join(format!("quintet_{}.raw", generation.version));
    let _ = fs::remove_file(&raw);
    tools
        .run("systemd-repart", |repart| {
            repart.args(["--empty=create", "--size=auto", "--offline=yes", "--no-pager", "--dry-run=no"]);
            // FAT of 4096 byte sectors, which it makes otherwise, is not read by firmware on disks of 512.
            repart.arg("--sector-size=512");
            repart.arg("--seed=7c3a1f5e-5d0b-4c52-9a0e-5d3c2f6a9b41");
            repart.arg(format!("--definitions={}", tools.inside(&definitions).display()));
            repart.arg(tools.inside(&raw));
        })
        .context("lay out the disk")?;
    fs::remove_dir_all(&boot)?;
    Ok(raw)
}

fn lay_out_boot_partition(
    tools: &Tools,
    generation: &Generation,
    recipe: &Recipe,
    boot: &Path,
) -> anyhow::Result<()> {
    for directory in ["EFI/BOOT", "EFI/systemd", "EFI/Linux", "loader/credentials"] {
        fs::create_dir_all(boot.join(directory))?;
    }
    fs::write(boot.join("loader/loader.conf"), LOADER)?;
    let loader = directory().join("systemd-boot.efi");
    fs::copy(tools.packages.join("usr/lib/systemd/boot/efi/systemd-bootx64.efi"), &loader)
        .context("copy the boot loader")?;
    if let Some((key, certificate)) = kernel::signing(recipe)? {
        tools.run("sbsign", |sbsign| {
            sbsign.arg("--key").arg(tools.inside(&key)).arg("--cert").arg(tools.inside(&certificate));
            sbsign.arg("--output").arg(tools.inside(&loader)).arg(tools.inside(&loader));
        })?;
    }
    for name in ["EFI/BOOT/BOOTX64.EFI", "EFI/systemd/systemd-bootx64.efi"] {
        fs::copy(&loader, boot.join(name)).context("copy the boot loader")?;
    }
    let entry = format!("EFI/Linux/quintet_{}+3.efi", generation.version);
    fs::copy(&generation.kernel, boot.join(entry)).context("copy the kernel image")?;
    Ok(())
}
