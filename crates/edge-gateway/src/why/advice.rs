//! What an error means and what to change, in plain words.

/// For one reason.
pub(super) struct Advice {
    pub(super) why: &'static str,
    pub(super) change: &'static str,
}

/// By the reason in the access log where it says more than the problem's code.
pub(super) fn of(reason: &str, code: &str) -> Advice {
    known(reason).or_else(|| known(code)).unwrap_or(Advice {
        why: "The gateway has no longer explanation for this code; the detail above is all there is.",
        change: "Look at the log lines and the trace of the same request id.",
    })
}

/// The advice for a reason or code, if there is one.
pub(super) fn known(word: &str) -> Option<Advice> {
    let (why, change) = upstream(word).or_else(|| request(word)).or_else(|| identity(word))?;
    Some(Advice { why, change })
}

fn upstream(word: &str) -> Option<(&'static str, &'static str)> {
    Some(match word {
        "upstream_down" | "upstream_unavailable" => (
            "No connection to any address of the upstream could be made, for longer than its restart patience.",
            "Check that the service runs and listens on the addresses of its [[upstreams]] section; raise \
             `restart_patience_ms` if its restarts take longer.",
        ),
        "upstream_tls" => (
            "The upstream answered, but its certificate was not valid for the name expected, or it did not agree to \
             HTTP/2.",
            "The log line `upstream is down` has the reason. Compare `tls.server_name` and `tls.ca_file` of the \
             [[upstreams]] section with the certificate that the service shows; with protocol = \"h2\" it must \
             offer h2 by ALPN.",
        ),
        "upstream_unresolved" => (
            "No DNS name of the upstream has had an address since the gateway knows it.",
            "The log line `name not resolved` has the reason. Look the name up on this machine (`getent hosts NAME`) and \
             compare it with `addresses` of the [[upstreams]] section.",
        ),
        "upstream_full" => (
            "The upstream already had as many requests in flight as it may.",
            "Find out why its answers are slow; raise `max_in_flight` of its [[upstreams]] section only if the \
             service can take more.",
        ),
        "upstream_broke_off" => (
            "The upstream closed the connection before its answer was complete, and the request could not be \
             repeated safely.",
            "Look for a crash or restart of the service at this time. Its idle timeout must be above \
             `idle_timeout_ms` of the [[upstreams]] section.",
        ),
        "upstream_timeout" => (
            "The upstream took the request and did not begin its answer in time.",
            "Look at the service's own trace of this request; raise `timeout_ms` of the route if such requests \
             may take longer.",
        ),
        "upstream_framing" => (
            "The upstream's answer had a Transfer-Encoding other than `chunked` alone, or switched to a protocol that nobody \
             asked for, so that its end could not be known.",
            "The service must send chunks, a Content-Length, or close the connection after its answer.",
        ),
        "upstream_stalled" => (
            "The upstream began its answer and then sent nothing for five minutes.",
            "A stream must send something more often, such as a comment line of an event stream.",
        ),
        _ => return None,
    })
}

fn request(word: &str) -> Option<(&'static str, &'static str)> {
    Some(match word {
        "not_found" => (
            "No route takes this host, path, method and these headers.",
            "Run `edge-gateway explain` with the same request: it says why each route does not take it.",
        ),
        "method_not_allowed" => (
            "Routes take this path, but not with this method; `static_files` takes only GET and HEAD.",
            "Add the method to `methods` of the route; GET does not include HEAD.",
        ),
        "purge_invalid" => (
            "A purge of the cache on the admin listener did not say what to forget.",
            "Send one of `url`, `prefix` (each as https://host/path) and `all=true` in the query.",
        ),
        "file_not_found" => (
            "The route serves files, and none has this name; hidden names and links out of `root` count as none.",
            "Check the path below `root` of the route's `static_files`; set `fallback` for a single-page application.",
        ),
        "files_unavailable" => (
            "The directory of the route's `static_files` or a file in it could not be opened.",
            "Read the error in the gateway's log: a missing `root`, or no file descriptors left (LimitNOFILE).",
        ),
        "file_broke_off" => (
            "A file could not be read to the length it had when it was opened.",
            "Replace files by renaming new ones over them, never by writing into them; check the disk.",
        ),
        "too_many_requests" => (
            "The client used up its allowance on this route or over all routes.",
            "Raise `rate_limit` of the route or of [limits] if the client is well-behaved; the RateLimit headers of \
             the answer name the allowance.",
        ),
        "network_denied" => (
            "The client's address is in `deny`, or not in `allow`, of the route or of [limits].",
            "Add its network to `allow` or take it out of `deny` if it should pass.",
        ),
        "client_certificate_required" => (
            "The route needs a client certificate, and the client showed none on this connection.",
            "The client must use its certificate for this host; [[client_auth]] must have the host, or no client is \
             asked for one.",
        ),
        "body_too_large" => (
            "The request body is larger than the route takes.",
            "Raise `max_body` of the route, or of [limits] for all.",
        ),
        "body_timeout" => (
            "The client paused too long while sending its body.",
            "Slow clients need a higher `limits.body_idle_timeout_ms`.",
        ),
        "client_memory" => (
            "The requests of the client's address that were in progress held all of the memory that one address may have.",
            "Raise `limits.memory_per_ip` where many people share an address; behind another proxy let it announce its \
             clients (`listen.proxy_protocol`).",
        ),
        "body_too_slow" => (
            "The client sent its body more slowly than `body_min_rate` of the route, or of [limits], for longer than \
             `limits.body_min_rate_grace_ms`.",
            "Lower `body_min_rate` of a route whose clients are that slow; 0 for bodies that are streams with pauses.",
        ),
        "client_body" | "body_broken" => (
            "The client's body broke off or was malformed.",
            "This is the client's doing, or that of a proxy in front of the gateway.",
        ),
        "host_invalid" => (
            "The request named no host, several, two that differ, or something that is no host.",
            "The client must send exactly one Host header or :authority.",
        ),
        "misdirected" => (
            "The request named another host than its TLS connection was made for.",
            "The client must open a connection for each host; a proxy in front must not rewrite Host.",
        ),
        "path_not_canonical" => (
            "Servers would disagree on what this path means, so it is refused before routes are looked at.",
            "The client must send the resolved path: no dot segments, empty segments or encoded slashes.",
        ),
        "cors_origin_refused" => (
            "A page of another origin asked to use this address, and the route's CORS rules do not list it.",
            "Add the page's origin to the origins of the route's `cors`, if it may.",
        ),
        "length_conflict" => (
            "The request had both Content-Length and Transfer-Encoding, as in request smuggling.",
            "Fix or block the client.",
        ),
        "header_value_invalid" => (
            "A header of the HTTP/3 request began or ended with a blank, which servers read in different ways.",
            "Fix the client: values come without blanks around them (RFC 9114 section 10.3).",
        ),
        "line_end_invalid" => (
            "A line of the request's head ended in a line feed alone, which servers read in different ways.",
            "Fix the client: each line ends in CR LF.",
        ),
        "head_malformed" => (
            "The request's head was no HTTP/1.1, or could be read in two ways; the detail says what was wrong. Method and \
             path are unknown where its first line was.",
            "Fix or block the client. Whoever speaks TLS or HTTP/2 to a plain listener looks like this as well.",
        ),
        "head_too_large" => (
            "The request's head was larger than `limits.header_bytes`, or had more headers than `limits.header_count`.",
            "Find out what makes it large, mostly cookies; raise the limit only if honest clients need it.",
        ),
        "target_too_long" => (
            "The request's first line alone was larger than `limits.header_bytes`.",
            "What is sent in the query may belong into a body.",
        ),
        "transfer_encoding_unsupported" => (
            "The request's body was encoded in another way than in plain chunks.",
            "The client must send `Transfer-Encoding: chunked` alone and say in Content-Encoding how the content is \
             compressed.",
        ),
        "scheme_invalid" => (
            "The request's target named another scheme than https or http.",
            "Fix the client; the gateway proxies HTTP alone.",
        ),
        "query_malformed" => (
            "The query of a sign-in page could not be read.",
            "Start the sign-in again from the page itself.",
        ),
        _ => return None,
    })
}

fn identity(word: &str) -> Option<(&'static str, &'static str)> {
    Some(match word {
        "token_missing" | "not_signed_in" => (
            "The route needs a token or session and the request had none.",
            "The client must send `Authorization: Bearer …` or sign in; use auth = \"none\" for a public route.",
        ),
        "token_malformed" | "token_signature" => (
            "The bearer token is not one that the identity provider made.",
            "Check where the client got its token.",
        ),
        "token_expired" => ("The bearer token has expired.", "The client must renew its token before that."),
        "token_not_yet_valid" => (
            "The bearer token is not valid yet.",
            "Compare the clocks of the gateway and the identity provider.",
        ),
        "proof_invalid" | "proof_replayed" => (
            "The token is bound to a key (DPoP), and the request's proof is missing, used before or for something else.",
            "The client must make a proof for each request, for its method, URL and token; check the client's clock.",
        ),
        "token_wrong_certificate" => (
            "The token is bound to a client certificate that this connection was not made with.",
            "Connect with the certificate that the token was got with, to a host of a [[client_auth]] section.",
        ),
        "token_wrong_issuer" | "token_wrong_audience" => (
            "The bearer token is from another issuer or for another audience.",
            "Compare the token's `iss` and `aud` with `issuer` and `audience` of [identity].",
        ),
        "token_unknown_key" => (
            "The bearer token is signed with a key that the identity provider does not publish.",
            "Check that the token is from this installation, and that the gateway reaches `identity.jwks`.",
        ),
        "auth_unavailable" | "identity_unavailable" => (
            "The identity provider did not answer, and nothing kept from earlier would do.",
            "Check that the identity provider runs and that `identity.jwks` names its socket.",
        ),
        "identity_broken" => (
            "The identity provider's answer was not a usable token answer.",
            "Look at the gateway's log for the reason, and at the provider's version and client settings.",
        ),
        "scope_missing" => (
            "The token or session lacks a scope that the route asks for.",
            "Grant the scope to the client, or change `scopes` of the route.",
        ),
        "csrf" => (
            "A request that acts on a browser session did not come from a page of this site.",
            "This is an attack or a page on another origin; programs must use bearer tokens.",
        ),
        "signin_refused" | "signin_code" | "signin_expired" | "signin_issuer" | "signin_state" => (
            "A sign-in did not come back as it began: refused, too late, twice, or in another browser.",
            "Start again; if it always fails, compare issuer, client id and redirect URI on both sides.",
        ),
        "session_too_large" => (
            "The session does not fit into a cookie of 4 KiB.",
            "Make the access token smaller, for example with fewer scopes or claims.",
        ),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn sources(directory: &Path, text: &mut String) {
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                sources(&path, text);
            } else if !path.ends_with("why/advice.rs") {
                text.push_str(&std::fs::read_to_string(path).unwrap());
            }
        }
    }

    #[test]
    fn every_code_and_reason_of_the_gateway_is_explained() {
        let mut text = String::new();
        sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut text);
        let pattern = r#"(?:Problem::new\(\s*StatusCode::\w+,\s*|Problem::bad_request\(\s*|Failure::unavailable\(\s*|\.fail\(\s*|reason: )"(\w+)""#;
        let words: std::collections::BTreeSet<String> = regex_lite::Regex::new(pattern)
            .unwrap()
            .captures_iter(&text)
            .map(|found| found[1].to_owned())
            .collect();
        assert!(words.len() > 15, "{words:?}");
        let unexplained: Vec<_> =
            words.iter().filter(|word| *word != "client_left" && known(word).is_none()).collect();
        assert!(unexplained.is_empty(), "say in why/advice.rs what these mean: {unexplained:?}");
    }

    #[test]
    fn codes_of_other_crates_are_explained() {
        use quintet_auth::Rejection as R;
        use quintet_http::problem::Problem;
        let rejections = [
            R::Missing,
            R::Expired,
            R::NotYetValid,
            R::WrongIssuer,
            R::WrongAudience,
            R::UnknownKey,
            R::Signature,
            R::Proof(quintet_auth::dpop::ProofError::Missing),
            R::Proof(quintet_auth::dpop::ProofError::Replayed),
            R::Certificate,
            R::Unavailable,
        ];
        let codes = rejections.map(R::code).into_iter().chain([
            Problem::forbidden("x").code,
            Problem::not_found("x").code,
            Problem::too_many(std::time::Duration::ZERO).code,
            "token_malformed",
        ]);
        for code in codes {
            assert!(known(code).is_some(), "{code}");
        }
    }
}
