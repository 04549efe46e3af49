//! One order, from the names to a chain with its key (RFC 8555 section 7.4).

use std::sync::Arc;
use std::time::Duration;

use instant_acme::{
    Account, AuthorizationStatus, CertificateIdentifier, ChallengeType, Identifier, NewOrder, Order,
    OrderStatus, RetryPolicy,
};
use rcgen::{CertificateParams, DistinguishedName, KeyPair};

use super::AcmeError;
use super::challenge::{Challenges, Offer};
use crate::config::ChallengeKind;

/// For the whole order; authorities validate and sign within seconds.
const DEADLINE: Duration = Duration::from_mins(5);
/// For each of the two waits in it. The crate respects `Retry-After` between looks.
const POLLING: RetryPolicy =
    RetryPolicy::new().initial_delay(Duration::from_millis(250)).backoff(1.5).timeout(Duration::from_mins(2));

/// What is ordered.
pub(super) struct Wanted<'a> {
    pub(super) names: &'a [String],
    pub(super) challenge: ChallengeKind,
    /// The certificate that the new one takes the place of (RFC 9773 section 5).
    pub(super) replaces: Option<CertificateIdentifier<'a>>,
}

/// What was issued, both PEM.
pub(super) struct Issued {
    pub(super) key: String,
    pub(super) chain: String,
}

/// Orders a certificate and waits for it.
pub(super) async fn issue(
    account: &Account,
    wanted: Wanted<'_>,
    challenges: &Arc<Challenges>,
) -> Result<Issued, AcmeError> {
    let ordering = Box::pin(order(account, wanted, challenges));
    tokio::time::timeout(DEADLINE, ordering).await.map_err(|_| AcmeError::Slow(DEADLINE))?
}

async fn order(
    account: &Account,
    wanted: Wanted<'_>,
    challenges: &Arc<Challenges>,
) -> Result<Issued, AcmeError> {
    let identifiers: Vec<Identifier> = wanted.names.iter().cloned().map(Identifier::Dns).collect();
    let mut asked = NewOrder::new(&identifiers);
    if let Some(replaces) = wanted.replaces {
        asked = asked.replaces(replaces);
    }
    let mut order = account.new_order(&asked).await?;
    let offers = prove(&mut order, wanted.challenge, challenges).await?;
    let ready = order.poll_ready(&POLLING).await;
    drop(offers);
    match ready {
        // What the order says is less than what its authorizations say.
        Ok(OrderStatus::Invalid) | Err(instant_acme::Error::Api(_)) => return Err(refusal(&mut order).await),
        Ok(_) => {}
        Err(instant_acme::Error::Timeout(_)) => return Err(AcmeError::Slow(Duration::from_mins(2))),
        Err(error) => return Err(error.into()),
    }
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::new(wanted.names)?;
    params.distinguished_name = DistinguishedName::new();
    order.finalize_csr(params.serialize_request(&key)?.der()).await?;
    let chain = order.poll_certificate(&POLLING).await?;
    Ok(Issued { key: key.serialize_pem(), chain })
}

/// Answers a challenge for each name that the authority has not verified lately.
async fn prove(
    order: &mut Order,
    kind: ChallengeKind,
    challenges: &Arc<Challenges>,
) -> Result<Vec<Offer>, AcmeError> {
    let mut offers = Vec::new();
    let mut authorizations = order.authorizations();
    while let Some(authorization) = authorizations.next().await {
        let mut authorization = authorization?;
        match authorization.status {
            AuthorizationStatus::Pending => {}
            AuthorizationStatus::Valid => continue,
            status => {
                let name = authorization.identifier();
                return Err(AcmeError::Challenge(format!("{name}: its authorization is {status:?}")));
            }
        }
        let name = authorization.identifier().to_string();
        let wanted = match kind {
            ChallengeKind::Http => ChallengeType::Http01,
            ChallengeKind::TlsAlpn => ChallengeType::TlsAlpn01,
        };
        let Some(mut challenge) = authorization.challenge(wanted) else {
            return Err(AcmeError::Challenge(format!(
                "{name}: it does not offer the challenge of acme.challenge"
            )));
        };
        let proof = challenge.key_authorization();
        offers.push(match kind {
            ChallengeKind::Http => challenges.offer_file(&challenge.token, proof.as_str()),
            ChallengeKind::TlsAlpn => challenges.offer_handshake(&name, proof.digest().as_ref())?,
        });
        challenge.set_ready().await?;
    }
    Ok(offers)
}

/// Why an order came to nothing: the first problem that one of its challenges has.
async fn refusal(order: &mut Order) -> AcmeError {
    let of_order = order.state().error.as_ref().map(ToString::to_string);
    let mut authorizations = order.authorizations();
    while let Some(Ok(mut authorization)) = authorizations.next().await {
        let Ok(state) = authorization.refresh().await else { continue };
        if let Some(problem) = state.challenges.iter().find_map(|challenge| challenge.error.as_ref()) {
            return AcmeError::Challenge(format!("{}: {problem}", state.identifier()));
        }
    }
    AcmeError::Challenge(of_order.unwrap_or_else(|| "the order, and does not say why".to_owned()))
}
