//! Asking for the public ports before anything is started, so that the error names the port and the flag.

use std::net::{Ipv4Addr, TcpListener};

use anyhow::{Context as _, anyhow};

/// Fails when somebody else listens there.
pub(crate) fn check_free(port: u16, flag: &str) -> anyhow::Result<()> {
    match TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => Err(anyhow!(
            "port {port} is in use: stop the program that listens there or choose another with {flag}"
        )),
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => Err(anyhow!(
            "port {port} needs privileges this user does not have: choose one above 1023 with {flag}"
        )),
        Err(error) => Err(error).with_context(|| format!("listen on port {port} ({flag})")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn taken_port_is_named_with_the_flag_that_changes_it() {
        let held = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
        let port = held.local_addr().unwrap().port();
        let error = check_free(port, "--https-port").unwrap_err().to_string();
        assert!(error.contains(&port.to_string()) && error.contains("--https-port"), "{error}");
    }
}
