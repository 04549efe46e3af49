//! The life of a real process: start, ready, signals, drain, exit codes.

#[cfg(test)]
#[path = "lifecycle/process.rs"]
mod process;

use std::io::Write;
use std::net::TcpListener;
use std::os::unix::net::UnixListener;

use process::{Fixture, Notifications, get, read_response, request, until};
use rustix::process::Signal;

#[test]
fn it_is_ready_once_started_and_stops_with_0_on_sigterm() {
    let fixture = Fixture::new("");
    let notifications = Notifications::bind(&fixture);
    let mut process =
        fixture.start_with(&[("NOTIFY_SOCKET", notifications.path().as_str()), ("WATCHDOG_USEC", "20000")]);
    process.wait_until_ready();
    notifications.wait_for("READY=1");
    notifications.wait_for("WATCHDOG=1");
    assert_eq!(get(&fixture.public(), "/hello"), (200, "hello".to_owned()));
    assert_eq!(get(&fixture.admin(), "/healthz").0, 200);
    assert_eq!(get(&fixture.admin(), "/minimal"), (200, "its own".to_owned()));
    let (status, problem) = get(&fixture.admin(), "/refusing");
    assert!(status == 404 && problem.contains("\"request_id\""), "{status} {problem}");
    assert_eq!(get(&fixture.admin(), "/other").0, 404);
    let metrics = get(&fixture.admin(), "/metrics").1;
    assert!(
        metrics.contains(r#"http_server_requests_total{route="/hello",method="GET",status="200"} 1"#),
        "{metrics}"
    );
    assert!(metrics.contains("process_resident_memory_bytes "), "{metrics}");

    process.signal(Signal::HUP);
    notifications.wait_for("RELOADING=1");
    notifications.wait_for("READY=1");
    process.signal(Signal::TERM);
    // Ten seconds of drain unless set, two for the flush, three in reserve.
    notifications.wait_for("EXTEND_TIMEOUT_USEC=15000000");
    assert_eq!(process.wait(), 0);
    assert!(process.logged("stopped"));
}

#[test]
fn a_thread_without_a_sign_of_life_leaves_the_watchdog_unanswered() {
    let fixture = Fixture::new("stuck = true\n");
    let notifications = Notifications::bind(&fixture);
    let mut process =
        fixture.start_with(&[("NOTIFY_SOCKET", notifications.path().as_str()), ("WATCHDOG_USEC", "20000")]);
    process.wait_until_ready();
    // The first look finds every thread alive.
    notifications.wait_for("WATCHDOG=1");
    until("the standstill is logged", || process.logged("no sign of life; the watchdog is not answered"));
    process.signal(Signal::TERM);
    let lines = notifications.lines_until("STOPPING=1");
    assert!(!lines.iter().any(|line| line == "WATCHDOG=1"), "{lines:?}");
    assert_eq!(process.wait(), 0);
}

#[test]
fn sighup_applies_the_log_level_and_refuses_a_wrong_configuration() {
    let fixture = Fixture::new("");
    let notifications = Notifications::bind(&fixture);
    let mut process = fixture.start_with(&[("NOTIFY_SOCKET", notifications.path().as_str())]);
    process.wait_until_ready();
    notifications.wait_for("READY=1");
    let reload = |process: &process::Process| {
        process.signal(Signal::HUP);
        notifications.wait_for("RELOADING=1");
        notifications.wait_for("READY=1");
    };

    fixture.rewrite("[listen]", "[telemetry]\nlog_level = \"warn\"\n\n[listen]");
    reload(&process);
    assert_eq!(get(&fixture.public(), "/hello").0, 200);
    fixture.rewrite("\"warn\"", "\"info\"");
    reload(&process);
    assert_eq!(get(&fixture.public(), "/hello").0, 200);
    fixture.rewrite("\"info\"", "\"loud\"");
    reload(&process);
    assert_eq!(get(&fixture.public(), "/hello").0, 200);
    process.signal(Signal::TERM);
    assert_eq!(process.wait(), 0);
    let log = process.stdout();
    assert_eq!(log.matches(r#""target":"access""#).count(), 2, "{log}");
    assert!(log.contains("minimal.toml:5:1: key `telemetry.log_level`: expected a level"), "{log}");
}

#[test]
fn a_drain_finishes_the_request_in_flight_and_takes_no_other() {
    let fixture = Fixture::new("");
    let mut process = fixture.start();
    process.wait_until_ready();
    let mut in_flight = request(&fixture.public(), "POST", "/echo", 6);
    in_flight.write_all(b"abc").unwrap();
    process::until("the request is being answered", || {
        get(&fixture.admin(), "/metrics").1.contains("http_server_active_requests 1")
    });

    process.signal(Signal::TERM);
    process::until("the listener is closed", || {
        std::os::unix::net::UnixStream::connect(fixture.public()).is_err()
    });
    let (status, checks) = get(&fixture.admin(), "/readyz");
    assert_eq!(status, 503, "{checks}");
    in_flight.write_all(b"def").unwrap();
    assert_eq!(read_response(&mut in_flight), (200, "abcdef".to_owned()));
    assert_eq!(process.wait(), 0);
}

#[test]
fn a_second_signal_aborts_the_drain_with_130() {
    let fixture = Fixture::new("");
    let mut process = fixture.start();
    process.wait_until_ready();
    let mut in_flight = request(&fixture.public(), "POST", "/echo", 6);
    in_flight.write_all(b"abc").unwrap();
    process.signal(Signal::INT);
    process::until("the drain has begun", || get(&fixture.admin(), "/readyz").0 == 503);
    process.signal(Signal::INT);
    assert_eq!(process.wait(), 130);
    assert!(process.logged("aborted by a second signal"));
}

#[test]
fn a_drain_past_its_deadline_ends_with_70_and_names_the_task() {
    let fixture = Fixture::new("");
    let mut process = fixture.start_with(&[("QUINTET_MINIMAL__SERVICE__DRAIN_TIMEOUT_MS", "50")]);
    process.wait_until_ready();
    let mut in_flight = request(&fixture.public(), "POST", "/echo", 6);
    in_flight.write_all(b"abc").unwrap();
    process::until("the request is being answered", || {
        get(&fixture.admin(), "/metrics").1.contains("http_server_active_requests 1")
    });
    process.signal(Signal::TERM);
    assert_eq!(process.wait(), 70);
    assert!(process.stdout().contains(r#""tasks":"[\"public\"]""#), "{}", process.stdout());
}

#[test]
fn a_task_that_fails_drains_the_process_and_ends_it_with_70() {
    let fixture = Fixture::new("");
    let mut process = fixture.start();
    process.wait_until_ready();
    assert_eq!(get(&fixture.public(), "/fail").0, 200);
    assert_eq!(process.wait(), 70);
    let log = process.stdout();
    assert!(log.contains(r#""error":"cannot keep books: the disk is gone""#), "{log}");
    assert_eq!(process.stderr(), "");
}

#[test]
fn a_panic_in_a_handler_is_logged_with_its_place_and_the_process_lives() {
    let fixture = Fixture::new("");
    let mut process = fixture.start();
    process.wait_until_ready();
    assert_eq!(get(&fixture.public(), "/panic").0, 500);
    assert_eq!(get(&fixture.public(), "/hello").0, 200);
    process.signal(Signal::TERM);
    assert_eq!(process.wait(), 0);
    assert!(process.stdout().contains("examples/minimal.rs:"), "{}", process.stdout());
}

#[test]
fn sigterm_during_the_start_ends_it_at_once_with_0() {
    let fixture = Fixture::new("");
    let mut process = fixture.start_with(&[("QUINTET_MINIMAL__LISTEN__HANG", "true")]);
    process::until("the start hangs", || process.logged("hanging"));
    let (status, checks) = get(&fixture.admin(), "/readyz");
    assert_eq!((status, checks.contains(r#""ready":false"#)), (503, true), "{checks}");
    process.signal(Signal::TERM);
    assert_eq!(process.wait(), 0);
}

#[test]
fn a_port_in_use_ends_the_start_with_69_and_names_the_key() {
    let fixture = Fixture::new("");
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    fixture.rewrite(&format!("unix:{}", fixture.public().display()), &address.to_string());
    let mut process = fixture.start();
    assert_eq!(process.wait(), 69);
    assert_eq!(
        process.stderr(),
        format!(
            "error: listener `public`: address {address} is in use by another process; \
             stop it, or change `listen.public` in {}\n",
            fixture.config().display()
        )
    );
}

#[test]
fn a_socket_in_a_missing_directory_ends_the_start_with_73() {
    let fixture = Fixture::new("");
    fixture.rewrite(&format!("unix:{}", fixture.public().display()), "unix:/nonexistent/x.sock");
    let mut process = fixture.start();
    assert_eq!(process.wait(), 73);
    assert!(process.stderr().contains("/nonexistent/x.sock"), "{}", process.stderr());
}

#[test]
fn sockets_from_systemd_are_taken_by_name() {
    let fixture = Fixture::new("");
    let admin = fixture.directory().join("activated.sock");
    let admin_listener = UnixListener::bind(&admin).unwrap();
    let public_listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let public = public_listener.local_addr().unwrap();
    let mut process = fixture.start_activated(admin_listener.into(), public_listener.into(), "admin:public");

    process::until("it is ready", || {
        process::try_get(&admin, "/readyz").is_some_and(|(status, _)| status == 200)
    });
    let mut stream = std::net::TcpStream::connect(public).unwrap();
    stream.set_read_timeout(Some(process::PATIENCE)).unwrap();
    stream.write_all(b"GET /hello HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    assert_eq!(read_response(&mut stream), (200, "hello".to_owned()));
    assert!(!fixture.public().exists(), "the configured address was bound as well");
    process.signal(Signal::TERM);
    assert_eq!(process.wait(), 0);
}

#[test]
fn a_wrong_key_ends_the_start_with_78_and_one_line() {
    let fixture = Fixture::new("prot = 1\n");
    let mut process = fixture.start();
    assert_eq!(process.wait(), 78);
    let expected = format!(
        "error: {}:6:1: key `listen.prot`: unknown key; known here: public, hang, stuck\n",
        fixture.config().display()
    );
    assert_eq!(process.stderr(), expected);
}

#[test]
fn check_config_tells_valid_from_invalid_and_starts_nothing() {
    let fixture = Fixture::new("");
    let mut process = fixture.run(&["--check-config"]);
    assert_eq!(process.wait(), 0);
    assert_eq!(process.stdout(), format!("{}: the configuration is valid\n", fixture.config().display()));
    assert!(!fixture.admin().exists());

    fixture.rewrite(&fixture.public().display().to_string(), &fixture.admin().display().to_string());
    let mut process = fixture.run(&["--check-config"]);
    assert_eq!(process.wait(), 78);
    assert!(
        process.stderr().ends_with(":5:1: key `listen.public`: must differ from service.admin\n"),
        "{}",
        process.stderr()
    );
}

#[test]
fn a_command_of_the_binarys_own_runs_on_the_checked_configuration_and_starts_nothing() {
    let fixture = Fixture::new("");
    let config = fixture.config().display().to_string();
    let mut process = fixture.run(&["address", "--config", &config]);
    assert_eq!(process.wait(), 0);
    assert_eq!(process.stdout(), format!("unix:{}\n", fixture.public().display()));
    assert!(!fixture.admin().exists());
    let mut process = fixture.run(&["adress", "--config", &config]);
    assert_eq!(process.wait(), 64);

    fixture.rewrite(&fixture.public().display().to_string(), &fixture.admin().display().to_string());
    let mut process = fixture.run(&["address", "--config", &config]);
    assert_eq!(process.wait(), 78);
}

#[test]
fn a_missing_secret_ends_the_start_with_78() {
    let fixture = Fixture::new("");
    let mut process = fixture.start_with(&[("QUINTET_MINIMAL__TOKEN_FILE", "/nonexistent/token")]);
    assert_eq!(process.wait(), 78);
    assert_eq!(process.stderr(), "error: key `token_file`: secret file /nonexistent/token does not exist\n");
}

#[test]
fn a_missing_configuration_file_ends_the_start_with_78() {
    let fixture = Fixture::new("");
    std::fs::remove_file(fixture.config()).unwrap();
    let mut process = fixture.start();
    assert_eq!(process.wait(), 78);
    assert!(process.stderr().contains("no such configuration file"), "{}", process.stderr());
}

#[test]
fn a_wrong_argument_ends_with_64() {
    let fixture = Fixture::new("");
    let mut process = fixture.run(&["--confg", "x"]);
    assert_eq!(process.wait(), 64);
    assert!(process.stderr().contains("--config"), "{}", process.stderr());
}

#[test]
fn version_completions_and_manual_are_printed() {
    let fixture = Fixture::new("");
    let output = |arguments: &[&str]| {
        let mut process = fixture.run(arguments);
        assert_eq!(process.wait(), 0);
        process.stdout()
    };
    assert_eq!(output(&["--version"]), concat!("minimal ", env!("CARGO_PKG_VERSION"), "\n"));
    assert!(output(&["completions", "bash"]).contains("_minimal"));
    let manual = output(&["man"]);
    assert!(manual.contains("QUINTET_MINIMAL__SECTION__KEY") && manual.contains("EXIT STATUS"), "{manual}");
    assert!(!output(&["--help"]).contains("completions"));
}
