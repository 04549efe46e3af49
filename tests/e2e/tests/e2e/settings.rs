//! What operators do wrong: each binary names file, line and key, or the address, file or version, and ends with the
//! documented exit code; `up` refuses with one line that says what to change.

use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use e2e::fleet::{BINARIES, Fleet, Settings, bin_dir, xtask};

const UNAVAILABLE: i32 = 69;
const CANNOT_CREATE: i32 = 73;
const CONFIG: i32 = 78;

/// A fleet that has run once and is stopped, so that its configurations and data can be spoilt.
fn stopped() -> anyhow::Result<Fleet> {
    let fleet = Settings::default().start()?;
    fleet.down()?;
    Ok(fleet)
}

fn config(fleet: &Fleet, binary: &str) -> PathBuf {
    fleet.data().join(format!("config/{binary}.toml"))
}

fn run(binary: &str, config: &Path, more: &[&str]) -> anyhow::Result<Output> {
    // A binary that wrongly starts must not hang the test.
    let mut command = Command::new("timeout");
    command.args(["--signal=KILL", "20"]).arg(bin_dir()?.join(binary)).arg("--config").arg(config).args(more);
    Ok(command.stdin(Stdio::null()).output()?)
}

/// Runs with the configuration edited and checks the exit code and that every word is said, in one short message.
fn refused(
    binary: &str,
    config: &Path,
    edit: impl FnOnce(&str) -> String,
    code: i32,
    words: &[&str],
) -> anyhow::Result<()> {
    let good = std::fs::read_to_string(config)?;
    std::fs::write(config, edit(&good))?;
    let output = run(binary, config, &[])?;
    std::fs::write(config, good)?;
    expect(binary, &output, code, words);
    Ok(())
}

fn expect(binary: &str, output: &Output, code: i32, words: &[&str]) {
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{binary}: {said}");
    for word in words {
        assert!(said.contains(word), "{binary} does not say {word:?}: {said}");
    }
    assert!(!said.contains("panicked"), "{binary}: {said}");
}

#[test]
fn every_binary_names_file_line_and_key_of_a_wrong_configuration() -> anyhow::Result<()> {
    let fleet = stopped()?;
    for binary in BINARIES {
        let path = config(&fleet, binary);
        let good = run(binary, &path, &["--check-config"])?;
        assert!(good.status.success(), "{binary}: {}", String::from_utf8_lossy(&good.stderr));
        let file = path.display().to_string();
        let at = |text: &str, needle: &str| {
            let line = text.lines().position(|line| line.starts_with(needle)).unwrap_or_default() + 1;
            format!("{file}:{line}")
        };
        let text = std::fs::read_to_string(&path)?;
        let section = at(&text, "drain_timeout_ms");
        let renamed = |text: &str| text.replace("drain_timeout_ms", "drain_timeout_msec");
        refused(binary, &path, renamed, CONFIG, &[&section, "drain_timeout_msec", "drain_timeout_ms"])?;
        let retyped = |text: &str| text.replace("drain_timeout_ms = 10000", "drain_timeout_ms = \"ten\"");
        refused(binary, &path, retyped, CONFIG, &[&section, "drain_timeout_ms"])?;
        let broken = |text: &str| text.replace("drain_timeout_ms = 10000", "drain_timeout_ms = = 1");
        refused(binary, &path, broken, CONFIG, &[&section])?;
        let missing = run(binary, Path::new("/nowhere/at/all.toml"), &[])?;
        expect(binary, &missing, CONFIG, &["/nowhere/at/all.toml"]);
        let checked = run(binary, Path::new("/nowhere/at/all.toml"), &["--check-config"])?;
        expect(binary, &checked, CONFIG, &["/nowhere/at/all.toml"]);
    }
    Ok(())
}

#[test]
fn a_missing_secret_is_named_with_its_key_and_never_shown() -> anyhow::Result<()> {
    let fleet = stopped()?;
    for (binary, secret, key) in [
        ("edge-gateway", "session-key", "cookie_key_file"),
        ("identity-provider", "identity-encryption-key", "keys.file"),
    ] {
        let path = fleet.data().join("secrets").join(secret);
        let kept = std::fs::read(&path)?;
        std::fs::remove_file(&path)?;
        let output = run(binary, &config(&fleet, binary), &[])?;
        expect(binary, &output, CONFIG, &[secret, key]);
        std::fs::write(&path, &kept)?;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644))?;
        let output = run(binary, &config(&fleet, binary), &[])?;
        expect(binary, &output, CONFIG, &[secret]);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!said.contains(&*String::from_utf8_lossy(&kept)), "{binary} shows the secret");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))?;
    }
    Ok(())
}

#[test]
fn a_port_in_use_is_named() -> anyhow::Result<()> {
    let fleet = stopped()?;
    let _taken = TcpListener::bind((Ipv4Addr::UNSPECIFIED, fleet.https_port()))?;
    let port = fleet.https_port().to_string();
    let output = run("edge-gateway", &config(&fleet, "edge-gateway"), &[])?;
    expect("edge-gateway", &output, UNAVAILABLE, &[&port]);
    let output = fleet.run_up()?;
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains(&port) && said.contains("--https-port"), "{said}");
    assert_eq!(said.trim().lines().count(), 1, "{said}");
    Ok(())
}

#[test]
fn a_place_that_cannot_be_written_is_named() -> anyhow::Result<()> {
    let fleet = stopped()?;
    let data = fleet.data();
    std::fs::remove_dir_all(data.join("telemetry"))?;
    std::fs::write(data.join("telemetry"), "a file where a directory should be")?;
    let output = run("telemetry-sink", &config(&fleet, "telemetry-sink"), &[])?;
    expect("telemetry-sink", &output, CANNOT_CREATE, &[&data.join("telemetry").display().to_string()]);
    std::fs::remove_file(data.join("core.db"))?;
    std::fs::create_dir(data.join("core.db"))?;
    let output = run("core-api", &config(&fleet, "core-api"), &[])?;
    assert!(matches!(output.status.code(), Some(UNAVAILABLE | CANNOT_CREATE | CONFIG)), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("core.db"), "{output:?}");
    Ok(())
}

#[test]
fn a_database_of_a_newer_version_is_refused_and_left_alone() -> anyhow::Result<()> {
    let fleet = stopped()?;
    for (binary, file, module) in
        [("core-api", "core.db", "orders"), ("identity-provider", "identity.db", "identity")]
    {
        let script = "import sqlite3, sys\n\
                      database = sqlite3.connect(sys.argv[1])\n\
                      rows = database.execute(\"INSERT INTO quintet_schema SELECT module, 9999, 'later', checksum, 9999, \
                      applied_at FROM quintet_schema WHERE module LIKE ? LIMIT 1\", ('%' + sys.argv[2] + '%',)).rowcount\n\
                      database.commit()\n\
                      sys.exit(0 if rows == 1 else 1)\n";
        let path = fleet.data().join(file);
        let spoilt = Command::new("/usr/bin/python3").args(["-c", script]).arg(&path).arg(module).output()?;
        assert!(spoilt.status.success(), "{}", String::from_utf8_lossy(&spoilt.stderr));
        let output = run(binary, &config(&fleet, binary), &[])?;
        expect(binary, &output, CONFIG, &["newer"]);
    }
    Ok(())
}

#[test]
fn up_refuses_a_data_directory_in_use_or_of_a_newer_version() -> anyhow::Result<()> {
    let fleet = Settings::default().start()?;
    let output = fleet.run_up()?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        !output.status.success() && said.contains("already runs") && said.contains("cargo xtask down"),
        "{said}"
    );
    fleet.down()?;
    std::fs::write(fleet.data().join("version"), "99\n")?;
    let output = fleet.run_up()?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && said.contains("newer version"), "{said}");
    let output = xtask()?.args(["down", "--data-dir"]).arg(fleet.data()).output()?;
    assert!(
        output.status.success() && String::from_utf8_lossy(&output.stdout).contains("no fleet runs"),
        "{output:?}"
    );
    Ok(())
}

#[test]
fn version_and_usage_errors_have_their_exit_codes() -> anyhow::Result<()> {
    for binary in BINARIES {
        let program = bin_dir()?.join(binary);
        let version = Command::new(&program).arg("--version").output()?;
        assert!(
            version.status.success() && String::from_utf8_lossy(&version.stdout).starts_with(binary),
            "{version:?}"
        );
        let usage = Command::new(&program).arg("--confg").output()?;
        expect(binary, &usage, 64, &["--config"]);
    }
    Ok(())
}
