//! DKIM signatures, verified by dkimpy.

use std::os::unix::fs::PermissionsExt as _;
use std::process::Stdio;

use aws_lc_rs::encoding::AsDer as _;
use aws_lc_rs::rsa::{KeyPair, KeySize};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use quintet_service::SecretFile;
use tokio::io::AsyncWriteExt as _;

use super::server::script;
use super::*;
use crate::config::Dkim;

fn signer(selector: &str, pem: &str) -> Signer {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), pem).unwrap();
    file.as_file().set_permissions(std::fs::Permissions::from_mode(0o600)).unwrap();
    let key_file = SecretFile::Path(file.path().to_path_buf());
    let settings = Dkim { domain: "Example.com".to_owned(), selector: selector.to_owned(), key_file };
    Signer::open(&settings, 0).unwrap()
}

fn signers() -> Vec<Signer> {
    let ed25519 = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap().serialize_pem();
    let rsa = KeyPair::generate(KeySize::Rsa2048).unwrap();
    let der: aws_lc_rs::encoding::Pkcs8V1Der<'_> = rsa.as_der().unwrap();
    let body = STANDARD.encode(der.as_ref());
    let rsa = format!("-----BEGIN PRIVATE KEY-----\n{body}\n-----END PRIVATE KEY-----\n");
    vec![signer("e1", &ed25519), signer("r1", &rsa)]
}

async fn verifies(message: &[u8], signers: &[Signer]) -> bool {
    let mut verify = tokio::process::Command::new("/usr/bin/python3");
    verify.arg(script("verify.py"));
    for signer in signers {
        let (name, record) = signer.record();
        verify.args([name, record]);
    }
    let mut verify = verify.stdin(Stdio::piped()).stderr(Stdio::null()).kill_on_drop(true).spawn().unwrap();
    verify.stdin.take().unwrap().write_all(message).await.unwrap();
    verify.wait().await.unwrap().success()
}

#[tokio::test]
async fn both_signatures_of_a_message_verify_and_break_with_it() {
    let (database, dir) = (any_database().await, tempfile::tempdir().unwrap());
    let (mut sender, _) = filing(&database, dir.path()).await;
    sender.signers = signers();
    let mut args = args("ord_1");
    args.unsubscribe = Some(serde_json::from_value(json!({"url": "https://shop.example/u"})).unwrap());
    args.context["order"]["invoice_number"] =
        json!("Ärger  mit   Leerzeichen und einer sehr langen Betreffzeile");
    let message = sender.compose(&args).unwrap().bytes;
    assert!(verifies(&message, &sender.signers).await);

    let text = String::from_utf8(message.clone()).unwrap();
    let another_from = format!("From: Eve <eve@example.com>\r\n{text}");
    let another_body = text.replace("Thank you", "Pay me");
    let another_click = text.replace("https://shop.example/u", "https://eve.example/u");
    for changed in [another_from, another_body, another_click] {
        assert_ne!(changed, text);
        assert!(!verifies(changed.as_bytes(), &sender.signers).await);
    }
}

#[test]
fn a_file_that_is_no_key_and_a_key_of_another_kind_are_refused_without_being_shown() {
    let ec = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap().serialize_pem();
    for pem in ["c2VjcmV0", &ec] {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), pem).unwrap();
        file.as_file().set_permissions(std::fs::Permissions::from_mode(0o600)).unwrap();
        let key_file = SecretFile::Path(file.path().to_path_buf());
        let settings = Dkim { domain: "example.com".to_owned(), selector: "s".to_owned(), key_file };
        let error = Signer::open(&settings, 0).err().unwrap().to_string();
        assert!(error.starts_with("it is n") && !error.contains("c2Vj"), "{error}");
    }
}
