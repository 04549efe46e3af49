//! The attack corpus: what known attacks on HTTP send, against a real gateway process with one worker.
//!
//! Each case is a line of a table (`attacks/*.rs`): what the client sends, the statuses it gets, and what the upstream
//! gets, byte for byte. After each case another client must be served, and the gateway must not have grown.

#[cfg(test)]
#[path = "attacks/bodies.rs"]
mod bodies;
#[cfg(test)]
#[path = "support/edge.rs"]
mod edge;
#[cfg(test)]
#[path = "attacks/floods.rs"]
mod floods;
#[cfg(test)]
#[path = "support/frames.rs"]
mod frames;
#[cfg(test)]
#[path = "attacks/heads.rs"]
mod heads;
#[cfg(test)]
#[path = "attacks/http2.rs"]
mod http2;
#[cfg(test)]
#[path = "support/message.rs"]
mod message;
#[cfg(test)]
#[path = "attacks/responses.rs"]
mod responses;
#[cfg(test)]
#[path = "attacks/slow.rs"]
mod slow;
#[cfg(test)]
#[path = "support/upstream.rs"]
mod upstream;

#[cfg(test)]
mod table {
    use crate::edge::Edge;
    use crate::message::{Message, statuses};
    use crate::upstream::{normal, obliging};

    /// One attack: its name, what the client sends, the statuses of the answers, the requests that reach the upstream.
    pub(crate) type Case<'a> = (&'a str, &'a str, &'a [u16], &'a [&'a str]);

    /// Short time limits, so that a case is over when the attacker is silent.
    const LIMITS: &str = "keep_alive_timeout_ms = 500\nbody_idle_timeout_ms = 500\nheader_read_timeout_ms = 500\n\
                          header_bytes = 8192\nheader_count = 40";

    /// Runs each case on an HTTP/1.1 connection of its own to `host`.
    pub(crate) fn run(host: &'static str, cases: &[Case<'_>]) {
        let mut edge = Edge::start(LIMITS, obliging);
        let mut wrong = Vec::new();
        for (name, sends, answers, upstream) in cases {
            let got = edge.exchange(host, sends.as_bytes());
            let (got, passed) = (statuses(&got), passed(&edge));
            if got != *answers || !fits(&passed, upstream) {
                wrong.push(format!(
                    "{name}: answers {got:?}, not {answers:?}; upstream {passed:?}, not {upstream:?}"
                ));
            }
            edge.ensure_serving(name);
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }

    /// A request that broke off may also have been given up before its first byte went on.
    pub(crate) fn fits(passed: &[String], expected: &[&str]) -> bool {
        let whole = |one: &&&str| !one.starts_with("BROKEN ");
        passed == expected || passed.iter().eq(expected.iter().filter(whole))
    }

    /// The requests that reached the upstream. One that broke off is marked.
    pub(crate) fn passed(edge: &Edge) -> Vec<String> {
        let mut all = Vec::new();
        for bytes in edge.upstream.take() {
            let mut rest = &bytes[..];
            while let Some(request) = Message::request(rest) {
                all.push(normal(&request));
                rest = &rest[request.length..];
            }
            if !rest.is_empty() {
                all.push(format!(
                    "BROKEN {}",
                    String::from_utf8_lossy(rest.split(|byte| *byte == b'\r').next().unwrap())
                ));
            }
        }
        all
    }
}
