//! Embeds the console's built files: writes a table of them, with a gzip form where that is smaller.
//!
//! The files come from `console/dist`, or from the directory `QUINTET_CONSOLE_DIST` names. A missing
//! directory is no error: the sink then serves a page that says how to get the console.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

fn main() -> io::Result<()> {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=QUINTET_CONSOLE_DIST");
    let manifest = PathBuf::from(variable("CARGO_MANIFEST_DIR")?);
    let dist =
        env::var_os("QUINTET_CONSOLE_DIST").map_or_else(|| manifest.join("console/dist"), PathBuf::from);
    // Cargo takes a path that is not there for changed at every build, so the nearest existing
    // ancestor is watched in its place.
    let watched = dist.ancestors().find(|path| path.exists()).unwrap_or(&manifest);
    println!("cargo::rerun-if-changed={}", watched.display());

    let out = PathBuf::from(variable("OUT_DIR")?);
    let mut files = Vec::new();
    if dist.join("index.html").is_file() {
        collect(&dist, &dist, &mut files)?;
    }
    files.sort();
    let mut table = String::from("static ASSETS: &[Asset] = &[\n");
    for (index, name) in files.iter().enumerate() {
        let source = fs::canonicalize(dist.join(name))?;
        table.push_str(&entry(&out, index, name, &source)?);
    }
    table.push_str("];\n");
    fs::write(out.join("console_assets.rs"), table)
}

fn variable(name: &str) -> io::Result<std::ffi::OsString> {
    env::var_os(name).ok_or_else(|| io::Error::other(format!("cargo did not set {name}")))
}

fn collect(root: &Path, directory: &Path, files: &mut Vec<String>) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if path.is_dir() {
            collect(root, &path, files)?;
        } else if let Some(name) = path.strip_prefix(root).ok().and_then(Path::to_str) {
            files.push(name.to_owned());
        }
    }
    Ok(())
}

fn entry(out: &Path, index: usize, name: &str, source: &Path) -> io::Result<String> {
    let plain = fs::read(source)?;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(&plain)?;
    let compressed = encoder.finish()?;
    let gzip = if compressed.len() < plain.len() {
        let path = out.join(format!("console-{index}.gz"));
        fs::write(&path, &compressed)?;
        format!("Some(include_bytes!({:?}))", path.display().to_string())
    } else {
        "None".to_owned()
    };
    let mut text = String::new();
    let written = writeln!(
        text,
        "    Asset {{ path: {name:?}, media_type: {:?}, etag: \"\\\"{}\\\"\", plain: include_bytes!({:?}), gzip: {gzip} }},",
        media_type(name),
        digest(&plain),
        source.display().to_string(),
    );
    written.map_err(io::Error::other)?;
    Ok(text)
}

/// A strong validator must change with the content; two independent checksums and the length do.
fn digest(bytes: &[u8]) -> String {
    let fnv = bytes.iter().fold(0xcbf2_9ce4_8422_2325u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    let mut crc = flate2::Crc::new();
    crc.update(bytes);
    format!("{fnv:016x}{:08x}{:x}", crc.sum(), bytes.len())
}

fn media_type(name: &str) -> &'static str {
    match name.rsplit('.').next().unwrap_or("") {
        "html" => "text/html; charset=utf-8",
        "js" | "mjs" => "text/javascript; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "json" | "map" => "application/json",
        "webmanifest" => "application/manifest+json",
        "svg" => "image/svg+xml",
        "png" => "image/png",
        "webp" => "image/webp",
        "ico" => "image/x-icon",
        "woff2" => "font/woff2",
        "txt" => "text/plain; charset=utf-8",
        _ => "application/octet-stream",
    }
}
