//! Request lines, headers and hosts that no honest client sends.

use crate::table::run;

#[test]
fn broken_heads_are_refused_and_nothing_of_them_goes_on() {
    run(
        "localhost",
        &[
            ("no method", "/ HTTP/1.1\r\nHost: localhost\r\n\r\n", &[400], &[]),
            ("method of no token", "G(T / HTTP/1.1\r\nHost: localhost\r\n\r\n", &[400], &[]),
            ("two spaces", "GET  / HTTP/1.1\r\nHost: localhost\r\n\r\n", &[400], &[]),
            ("tabs for spaces", "GET\t/\tHTTP/1.1\r\nHost: localhost\r\n\r\n", &[400], &[]),
            ("space in the target", "GET /a b HTTP/1.1\r\nHost: localhost\r\n\r\n", &[400], &[]),
            ("control byte in the target", "GET /\x01 HTTP/1.1\r\nHost: localhost\r\n\r\n", &[400], &[]),
            (
                "fragment in the target",
                "GET /a#b HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
                &[200],
                &["GET /a"],
            ),
            ("HTTP/0.9", "GET /\r\n\r\n", &[400], &[]),
            ("HTTP/1.2", "GET / HTTP/1.2\r\nHost: localhost\r\n\r\n", &[400], &[]),
            ("HTTP/2.0 as text", "GET / HTTP/2.0\r\nHost: localhost\r\n\r\n", &[400], &[]),
            ("HTTP/2 preface", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", &[], &[]),
            ("lower-case version", "GET / http/1.1\r\nHost: localhost\r\n\r\n", &[400], &[]),
            ("version with a tail", "GET / HTTP/1.1x\r\nHost: localhost\r\n\r\n", &[400], &[]),
            ("TLS inside of TLS", "\x16\x03\x01\x02\0\x01\0\r\n\r\n", &[400], &[]),
            ("obs-fold", "GET / HTTP/1.1\r\nHost: localhost\r\nX: a\r\n b\r\n\r\n", &[400], &[]),
            ("fold of the first header", "GET / HTTP/1.1\r\n Host: localhost\r\n\r\n", &[400], &[]),
            ("space before the colon", "GET / HTTP/1.1\r\nHost : localhost\r\n\r\n", &[400], &[]),
            ("tab before the colon", "GET / HTTP/1.1\r\nHost\t: localhost\r\n\r\n", &[400], &[]),
            ("no colon", "GET / HTTP/1.1\r\nHost: localhost\r\nX\r\n\r\n", &[400], &[]),
            ("no name", "GET / HTTP/1.1\r\nHost: localhost\r\n: x\r\n\r\n", &[400], &[]),
            ("NUL in a name", "GET / HTTP/1.1\r\nHost: localhost\r\nX\0: y\r\n\r\n", &[400], &[]),
            ("NUL in a value", "GET / HTTP/1.1\r\nHost: localhost\r\nX: a\0b\r\n\r\n", &[400], &[]),
            (
                "control byte in a value",
                "GET / HTTP/1.1\r\nHost: localhost\r\nX: a\x01b\r\n\r\n",
                &[400],
                &[],
            ),
            ("DEL in a value", "GET / HTTP/1.1\r\nHost: localhost\r\nX: a\x7fb\r\n\r\n", &[400], &[]),
            ("bare CR in a value", "GET / HTTP/1.1\r\nHost: localhost\r\nX: a\rY: b\r\n\r\n", &[400], &[]),
            ("bare CR as the end", "GET / HTTP/1.1\rHost: localhost\r\r", &[400], &[]),
            ("bare LF as the ends", "GET / HTTP/1.1\nHost: localhost\nConnection: close\n\n", &[400], &[]),
            (
                "one bare LF",
                "GET / HTTP/1.1\r\nHost: localhost\r\nX: a\nY: b\r\nConnection: close\r\n\r\n",
                &[400],
                &[],
            ),
            (
                "LF CR LF as the end",
                "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\n\r\n",
                &[400],
                &[],
            ),
            (
                "bytes beyond ASCII in a name",
                "GET / HTTP/1.1\r\nHost: localhost\r\nX\u{fc}: y\r\n\r\n",
                &[400],
                &[],
            ),
            ("cut off head", "GET / HTTP/1.1\r\nHost: local", &[], &[]),
            ("CONNECT", "CONNECT localhost:443 HTTP/1.1\r\nHost: localhost:443\r\n\r\n", &[400], &[]),
            ("asterisk", "OPTIONS * HTTP/1.1\r\nHost: localhost\r\n\r\n", &[400], &[]),
            ("authority for a GET", "GET localhost:443 HTTP/1.1\r\nHost: localhost\r\n\r\n", &[400], &[]),
        ],
    );
}

#[test]
fn a_request_is_for_exactly_one_host() {
    run(
        "127.0.0.1",
        &[
            ("no host", "GET / HTTP/1.1\r\nConnection: close\r\n\r\n", &[400], &[]),
            ("empty host", "GET / HTTP/1.1\r\nHost:\r\nConnection: close\r\n\r\n", &[400], &[]),
            ("two hosts", "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\nConnection: close\r\n\r\n", &[400], &[]),
            (
                "one host twice",
                "GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\nConnection: close\r\n\r\n",
                &[400],
                &[],
            ),
            ("a list", "GET / HTTP/1.1\r\nHost: a, b\r\nConnection: close\r\n\r\n", &[400], &[]),
            ("a space", "GET / HTTP/1.1\r\nHost: a b\r\nConnection: close\r\n\r\n", &[400], &[]),
            ("a path", "GET / HTTP/1.1\r\nHost: a/b\r\nConnection: close\r\n\r\n", &[400], &[]),
            ("a query", "GET / HTTP/1.1\r\nHost: a?b\r\nConnection: close\r\n\r\n", &[400], &[]),
            ("a user", "GET / HTTP/1.1\r\nHost: user@a\r\nConnection: close\r\n\r\n", &[400], &[]),
            ("a port of no number", "GET / HTTP/1.1\r\nHost: a:b\r\nConnection: close\r\n\r\n", &[400], &[]),
            ("a port too many", "GET / HTTP/1.1\r\nHost: a:1:2\r\nConnection: close\r\n\r\n", &[400], &[]),
            ("a port too large", "GET / HTTP/1.1\r\nHost: a:65536\r\nConnection: close\r\n\r\n", &[400], &[]),
            ("a quotation mark", "GET / HTTP/1.1\r\nHost: a\"b\r\nConnection: close\r\n\r\n", &[400], &[]),
            ("markup", "GET / HTTP/1.1\r\nHost: <script>\r\nConnection: close\r\n\r\n", &[400], &[]),
            ("a backslash", "GET / HTTP/1.1\r\nHost: a\\b\r\nConnection: close\r\n\r\n", &[400], &[]),
            (
                "target against host",
                "GET http://a/ HTTP/1.1\r\nHost: b\r\nConnection: close\r\n\r\n",
                &[400],
                &[],
            ),
            (
                "a user in the target",
                "GET http://u@a/ HTTP/1.1\r\nHost: u@a\r\nConnection: close\r\n\r\n",
                &[400],
                &[],
            ),
            (
                "absolute form",
                "GET http://a/x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
                &[200],
                &["GET /x"],
            ),
            ("another scheme", "GET ftp://a/x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", &[400], &[]),
            (
                "an IPv6 address",
                "GET /x HTTP/1.1\r\nHost: [::1]:443\r\nConnection: close\r\n\r\n",
                &[200],
                &["GET /x"],
            ),
            ("brackets left open", "GET / HTTP/1.1\r\nHost: [::1\r\nConnection: close\r\n\r\n", &[400], &[]),
        ],
    );
    run(
        "localhost",
        &[
            ("not the certificate's", "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", &[421], &[]),
            (
                "a dot at the end",
                "GET / HTTP/1.1\r\nHost: localhost.\r\nConnection: close\r\n\r\n",
                &[200],
                &["GET /"],
            ),
        ],
    );
}

#[test]
fn large_heads_are_431_and_long_request_lines_414() {
    let line = "X-Long: 0123456789abcdef\r\n";
    let head = |more: &str| format!("GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{more}\r\n");
    let value = head(&format!("X: {}\r\n", "x".repeat(100_000)));
    let name = head(&format!("{}: x\r\n", "x".repeat(100_000)));
    let many = head(&line.repeat(41));
    let endless = format!("GET / HTTP/1.1\r\nHost: localhost\r\n{}", line.repeat(10_000));
    let target =
        format!("GET /{} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", "x".repeat(100_000));
    run(
        "localhost",
        &[
            ("a long value", &value, &[431], &[]),
            ("a long name", &name, &[431], &[]),
            ("many headers", &many, &[431], &[]),
            ("a head without an end", &endless, &[431], &[]),
            ("a long target", &target, &[414], &[]),
        ],
    );
}

#[test]
fn claims_about_the_connection_end_at_the_gateway() {
    let head = |more: &str| format!("GET / HTTP/1.1\r\nHost: localhost\r\n{more}Connection: close\r\n\r\n");
    let named = head("Connection: X-A, Host, X-Request-Id, Authorization\r\nX-A: 1\r\nAuthorization: b\r\n");
    let hops = head(
        "Keep-Alive: 1\r\nProxy-Connection: keep-alive\r\nTE: trailers\r\nHTTP2-Settings: x\r\nProxy-Authorization: y\r\n",
    );
    let claims = head(
        "X-Forwarded-For: 10.0.0.1\r\nForwarded: for=10.0.0.1\r\nX-Real-IP: 10.0.0.1\r\nX-Forwarded-Host: evil\r\n",
    );
    let posing =
        head("X_Real_IP: 10.0.0.1\r\nX-Forwarded_For: 10.0.0.1\r\nX_Quintet_Subject: root\r\nX_Fine: 1\r\n");
    let upgrade = "GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n";
    run(
        "localhost",
        &[
            ("headers named in Connection", &named, &[200], &["GET /\nauthorization: b"]),
            ("hop-by-hop headers", &hops, &[200], &["GET /"]),
            ("claims about the client", &claims, &[200], &["GET /"]),
            ("claims with underscores", &posing, &[200], &["GET /\nx_fine: 1"]),
            ("upgrade to one of several", &upgrade.replace("h2c", "websocket, h2c"), &[200], &["GET /"]),
            ("upgrade to cleartext HTTP/2", upgrade, &[200], &["GET /"]),
        ],
    );
}
