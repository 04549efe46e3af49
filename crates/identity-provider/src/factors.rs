//! What people prove themselves with beside a password, and how much each proof is worth.
//!
//! A sign-in collects [`Methods`]; they stay with its session, its codes and its grants, and tokens
//! tell clients of them as `amr` (RFC 8176) and `acr`. Whoever has a second factor is asked for it at
//! every sign-in by password; [`Policy`] says who must have one.

pub(crate) mod passkeys;
pub(crate) mod recovery;
pub(crate) mod totp;

use std::fmt;
use std::str::FromStr;

use quintet_store::{Store, Tx, args};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::scopes::Role;
use crate::users::User;

/// How somebody proved who they are: a set, stored as the names of its members.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Methods(u8);

impl Methods {
    /// A password.
    pub(crate) const PASSWORD: Self = Self(1);
    /// A code of an authenticator app.
    pub(crate) const OTP: Self = Self(1 << 1);
    /// A recovery code.
    pub(crate) const RECOVERY: Self = Self(1 << 2);
    /// A passkey whose authenticator made sure of its owner, by a finger, a face or a PIN.
    pub(crate) const PASSKEY: Self = Self(1 << 3);
    /// A passkey that somebody touched.
    pub(crate) const KEY: Self = Self(1 << 4);

    /// Each member with the name it is stored by and what tokens call it. RFC 8176 has no name of its
    /// own for a recovery code, which is a password that works once.
    const TABLE: [(Self, &'static str, &'static str); 5] = [
        (Self::PASSWORD, "pwd", "pwd"),
        (Self::OTP, "otp", "otp"),
        (Self::RECOVERY, "recovery", "otp"),
        (Self::PASSKEY, "passkey", "pop"),
        (Self::KEY, "key", "pop"),
    ];

    /// Both sets together.
    pub(crate) const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    pub(crate) const fn any_of(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// How much the set is worth.
    pub(crate) const fn assurance(self) -> Assurance {
        let password = self.any_of(Self::PASSWORD);
        if self.any_of(Self::PASSKEY) || (password && self.any_of(Self::KEY)) {
            Assurance::PhishingResistant
        } else if password && self.any_of(Self::OTP.union(Self::RECOVERY)) {
            Assurance::TwoFactors
        } else {
            Assurance::OneFactor
        }
    }

    /// The claim `amr`.
    pub(crate) fn amr(self) -> Vec<String> {
        let mut names: Vec<&str> =
            Self::TABLE.iter().filter(|(member, ..)| self.any_of(*member)).map(|(.., name)| *name).collect();
        names.dedup();
        if self.assurance() > Assurance::OneFactor {
            names.push("mfa");
        }
        names.into_iter().map(str::to_owned).collect()
    }
}

impl fmt::Display for Methods {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = Self::TABLE.iter().filter(|(member, ..)| self.any_of(*member)).map(|(_, name, _)| *name);
        f.write_str(&names.collect::<Vec<_>>().join(" "))
    }
}

/// A text that is no set of methods.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("unknown authentication method {0}")]
pub(crate) struct UnknownMethod(String);

impl FromStr for Methods {
    type Err = UnknownMethod;

    fn from_str(text: &str) -> Result<Self, UnknownMethod> {
        text.split(' ').filter(|word| !word.is_empty()).try_fold(Self::default(), |set, word| {
            let known = Self::TABLE.iter().find(|(_, name, _)| *name == word);
            known.map(|(member, ..)| set.union(*member)).ok_or_else(|| UnknownMethod(word.to_owned()))
        })
    }
}

/// How sure a sign-in is; more is greater.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) enum Assurance {
    /// A password over TLS, nothing stronger.
    OneFactor,
    /// Two of knowledge, possession and inherence.
    TwoFactors,
    /// Two of them, one a key that no other site can ask for.
    PhishingResistant,
}

impl Assurance {
    /// Every level, weakest first.
    pub(crate) const ALL: [Self; 3] = [Self::OneFactor, Self::TwoFactors, Self::PhishingResistant];

    /// The claim `acr`.
    pub(crate) const fn acr(self) -> &'static str {
        match self {
            Self::OneFactor => "urn:quintet:acr:password",
            Self::TwoFactors => "urn:quintet:acr:mfa",
            Self::PhishingResistant => "urn:quintet:acr:passkey",
        }
    }

    /// What `acr_values` asks for: any of the levels listed will do, so it is the least of them. Values
    /// from elsewhere are skipped, because the parameter is a wish (OpenID Connect Core §3.1.2.1).
    pub(crate) fn asked_by(acr_values: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|level| acr_values.split(' ').any(|value| value == level.acr()))
    }
}

/// Who must have a second factor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Required {
    /// Nobody; whoever sets one up is asked for it.
    #[default]
    Nobody,
    /// Administrators.
    Administrators,
    /// Everybody.
    Everybody,
}

/// The `[factors]` section.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Policy {
    /// Who must have a second factor: `nobody`, `administrators` or `everybody`. Whoever lacks one sets
    /// it up before the first application is reached.
    pub(crate) required: Required,
}

impl Policy {
    /// The least that a sign-in of `user` must be worth.
    pub(crate) fn least(self, user: &User) -> Assurance {
        match (self.required, user.role) {
            (Required::Everybody, _) | (Required::Administrators, Role::Admin) => Assurance::TwoFactors,
            (Required::Nobody | Required::Administrators, _) => Assurance::OneFactor,
        }
    }
}

/// Which second factors somebody has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Enrolled {
    /// An authenticator app.
    pub(crate) totp: bool,
    /// Passkeys.
    pub(crate) passkeys: i64,
    /// Recovery codes that are left.
    pub(crate) recovery_codes: i64,
}

impl Enrolled {
    /// Whether a password alone signs nobody in any more. Recovery codes stand in for a lost factor;
    /// they are none by themselves.
    pub(crate) const fn any(self) -> bool {
        self.totp || self.passkeys > 0
    }

    /// How many factors there are beside the password.
    pub(crate) const fn count(self) -> i64 {
        self.passkeys + if self.totp { 1 } else { 0 }
    }

    /// What somebody whose sign-in is worth `have` does next to come to `least`.
    pub(crate) fn missing(self, have: Assurance, least: Assurance) -> Option<Missing> {
        match least {
            _ if have >= least => None,
            Assurance::PhishingResistant if self.passkeys == 0 => Some(Missing::Passkey),
            Assurance::OneFactor | Assurance::TwoFactors if !self.any() => Some(Missing::App),
            _ => Some(Missing::Step),
        }
    }
}

/// What a sign-in lacks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Missing {
    /// Proof by a factor that is there.
    Step,
    /// A passkey, to be set up.
    Passkey,
    /// Any second factor, to be set up.
    App,
}

impl Missing {
    /// The page where it is given.
    pub(crate) const fn path(self) -> &'static str {
        match self {
            Self::Step => "/login/second",
            Self::Passkey => "/account/passkey",
            Self::App => "/account/totp",
        }
    }
}

/// The second factors of a person.
pub(crate) async fn enrolled(store: &Store, user_id: &str) -> Result<Enrolled, quintet_store::Error> {
    let row = store
        .fetch_one(
            "SELECT (SELECT count(*) FROM identity_totp WHERE user_id = $1) AS totp, \
             (SELECT count(*) FROM identity_passkeys WHERE user_id = $1) AS passkeys, \
             (SELECT count(*) FROM identity_recovery_codes WHERE user_id = $1 AND used_at IS NULL) AS codes",
            args![user_id],
        )
        .await?;
    Ok(Enrolled {
        totp: row.get::<i64>("totp")? > 0,
        passkeys: row.get("passkeys")?,
        recovery_codes: row.get("codes")?,
    })
}

/// Removes recovery codes once there is no factor that they could stand in for.
pub(crate) async fn drop_orphaned_codes(tx: &mut Tx, user_id: &str) -> Result<(), quintet_store::Error> {
    tx.execute(
        "DELETE FROM identity_recovery_codes WHERE user_id = $1 \
         AND NOT EXISTS (SELECT 1 FROM identity_totp WHERE user_id = $1) \
         AND NOT EXISTS (SELECT 1 FROM identity_passkeys WHERE user_id = $1)",
        args![user_id],
    )
    .await
    .map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn methods_are_stored_and_read_back_and_unknown_ones_are_an_error() {
        for text in ["", "pwd", "pwd otp", "pwd recovery", "pwd otp recovery", "passkey", "pwd key"] {
            assert_eq!(text.parse::<Methods>().unwrap().to_string(), text);
        }
        assert_eq!("pwd sms".parse::<Methods>(), Err(UnknownMethod("sms".to_owned())));
    }

    #[test]
    fn only_a_second_factor_beside_a_password_is_worth_two() {
        for (text, amr, assurance) in [
            ("pwd", "pwd", Assurance::OneFactor),
            ("otp", "otp", Assurance::OneFactor),
            ("pwd otp", "pwd otp mfa", Assurance::TwoFactors),
            ("pwd recovery", "pwd otp mfa", Assurance::TwoFactors),
            ("pwd otp recovery", "pwd otp mfa", Assurance::TwoFactors),
            ("passkey", "pop mfa", Assurance::PhishingResistant),
            ("key", "pop", Assurance::OneFactor),
            ("pwd key", "pwd pop mfa", Assurance::PhishingResistant),
            ("pwd passkey key", "pwd pop mfa", Assurance::PhishingResistant),
        ] {
            let methods: Methods = text.parse().unwrap();
            assert_eq!((methods.amr().join(" ").as_str(), methods.assurance()), (amr, assurance), "{text}");
        }
    }

    #[test]
    fn a_sign_in_is_led_to_what_it_lacks_and_to_no_page_that_cannot_give_it() {
        use Assurance::{OneFactor, PhishingResistant, TwoFactors};
        let enrolled = |totp, passkeys| Enrolled { totp, passkeys, recovery_codes: 0 };
        for (enrolled, have, least, expected) in [
            (enrolled(false, 0), OneFactor, OneFactor, None),
            (enrolled(false, 0), OneFactor, TwoFactors, Some(Missing::App)),
            (enrolled(true, 0), OneFactor, TwoFactors, Some(Missing::Step)),
            (enrolled(false, 1), OneFactor, TwoFactors, Some(Missing::Step)),
            (enrolled(true, 0), TwoFactors, PhishingResistant, Some(Missing::Passkey)),
            (enrolled(true, 1), TwoFactors, PhishingResistant, Some(Missing::Step)),
            (enrolled(true, 1), PhishingResistant, PhishingResistant, None),
        ] {
            assert_eq!(enrolled.missing(have, least), expected, "{enrolled:?} {have:?} {least:?}");
        }
    }

    #[test]
    fn any_level_listed_will_do_and_unknown_values_are_no_wish() {
        let (password, mfa) = ("urn:quintet:acr:password", "urn:quintet:acr:mfa");
        assert_eq!(Assurance::asked_by(mfa), Some(Assurance::TwoFactors));
        assert_eq!(Assurance::asked_by(&format!("{mfa} {password}")), Some(Assurance::OneFactor));
        assert_eq!(Assurance::asked_by(&format!("phr {mfa}")), Some(Assurance::TwoFactors));
        assert_eq!(Assurance::asked_by("phr urn:quintet:acr:mfa2"), None);
    }
}
