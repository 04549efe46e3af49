//! `Accept-Encoding` (RFC 9110 section 12.5.3).

use http::HeaderMap;
use http::header::ACCEPT_ENCODING;
use serde::Deserialize;

/// A content coding that the gateway speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub(crate) enum Encoding {
    #[serde(rename = "zstd")]
    Zstd,
    #[serde(rename = "br")]
    Brotli,
    #[serde(rename = "gzip")]
    Gzip,
}

impl Encoding {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Zstd => "zstd",
            Self::Brotli => "br",
            Self::Gzip => "gzip",
        }
    }
}

/// What a client said of its codings, in thousandths.
#[derive(Default)]
struct Weights {
    zstd: Option<u16>,
    brotli: Option<u16>,
    gzip: Option<u16>,
    identity: Option<u16>,
    rest: Option<u16>,
}

impl Weights {
    fn read(headers: &HeaderMap) -> Self {
        let mut weights = Self::default();
        for list in headers.get_all(ACCEPT_ENCODING) {
            for one in list.to_str().unwrap_or_default().split(',') {
                weights.take(one);
            }
        }
        weights
    }

    fn take(&mut self, one: &str) {
        let mut parts = one.split(';');
        let name = parts.next().unwrap_or_default().trim();
        let of = if name.eq_ignore_ascii_case("gzip") || name.eq_ignore_ascii_case("x-gzip") {
            &mut self.gzip
        } else if name.eq_ignore_ascii_case("br") {
            &mut self.brotli
        } else if name.eq_ignore_ascii_case("zstd") {
            &mut self.zstd
        } else if name.eq_ignore_ascii_case("identity") {
            &mut self.identity
        } else if name == "*" {
            &mut self.rest
        } else {
            return;
        };
        // A weight that cannot be read is no permission.
        *of = Some(parts.next().map_or(1_000, |weight| thousandths(weight).unwrap_or(0)));
    }

    fn of(&self, encoding: Encoding) -> u16 {
        let own = match encoding {
            Encoding::Zstd => self.zstd,
            Encoding::Brotli => self.brotli,
            Encoding::Gzip => self.gzip,
        };
        own.or(self.rest).unwrap_or(0)
    }
}

/// ` q=0.5` in thousandths.
fn thousandths(parameter: &str) -> Option<u16> {
    let (name, value) = parameter.trim().split_once('=')?;
    let (whole, fraction) = value.trim().split_once('.').unwrap_or((value.trim(), ""));
    if !name.trim().eq_ignore_ascii_case("q") || fraction.len() > 3 {
        return None;
    }
    let whole: u16 = whole.parse().ok().filter(|whole| *whole <= 1)?;
    let mut sum = whole * 1_000;
    for (digit, worth) in fraction.bytes().zip([100, 10, 1]) {
        sum += u16::from(char::from(digit).to_digit(10).and_then(|digit| u8::try_from(digit).ok())?) * worth;
    }
    (sum <= 1_000).then_some(sum)
}

/// The coding that the client likes best; among equals, the first of `ours`. None where it takes none of
/// them, or rather has the content as it is.
pub(crate) fn choose(headers: &HeaderMap, ours: &[Encoding]) -> Option<Encoding> {
    if !headers.contains_key(ACCEPT_ENCODING) {
        return None;
    }
    let weights = Weights::read(headers);
    let mut best = None;
    let mut most = weights.identity.map_or(1, |identity| identity.max(1));
    for &encoding in ours {
        let weight = weights.of(encoding);
        if weight > most || (weight == most && best.is_none()) {
            (best, most) = (Some(encoding), weight);
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;
    use Encoding::{Brotli, Gzip, Zstd};

    fn check(accept: &[&'static str], expected: Option<Encoding>) {
        let mut headers = HeaderMap::new();
        for value in accept {
            headers.append(ACCEPT_ENCODING, http::HeaderValue::from_static(value));
        }
        assert_eq!(choose(&headers, &[Zstd, Brotli, Gzip]), expected, "{accept:?}");
    }

    #[test]
    fn the_best_weight_wins_and_our_order_among_equals() {
        check(&[], None);
        check(&[""], None);
        check(&["gzip, deflate, br, zstd"], Some(Zstd));
        check(&["gzip", "br"], Some(Brotli));
        check(&["gzip;q=1, br;q=0.999"], Some(Gzip));
        check(&["GZIP;Q=0.5, x-unknown"], Some(Gzip));
        check(&["x-gzip"], Some(Gzip));
        check(&["br; q=0.001"], Some(Brotli));
    }

    #[test]
    fn what_is_refused_or_liked_less_than_identity_is_not_used() {
        check(&["gzip;q=0"], None);
        check(&["gzip;q=0.000, *;q=0"], None);
        check(&["*"], Some(Zstd));
        check(&["*;q=0.5, zstd;q=0"], Some(Brotli));
        check(&["identity, gzip;q=0.5"], None);
        check(&["identity;q=0.5, gzip"], Some(Gzip));
        check(&["identity, gzip"], Some(Gzip));
        check(&["identity;q=0, gzip;q=0"], None);
    }

    #[test]
    fn a_weight_that_is_none_is_no_permission() {
        for bad in [
            "gzip;q=2",
            "gzip;q=-1",
            "gzip;q=0.1234",
            "gzip;q=",
            "gzip;q",
            "gzip;x=1",
            "gzip;q=1.001",
            "gzip;q=0.x",
        ] {
            check(&[bad], None);
        }
    }
}
