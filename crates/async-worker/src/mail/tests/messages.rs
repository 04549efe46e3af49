//! What a message is made of.

use super::*;

#[tokio::test]
async fn a_receipt_delivered_twice_is_one_message_with_a_stable_id() {
    let (database, dir) = (any_database().await, tempfile::tempdir().unwrap());
    let (sender, maildir) = filing(&database, dir.path()).await;
    for _ in 0..2 {
        sender.send(&args("ord_1")).await.unwrap();
    }
    let messages = maildir.list().await.unwrap();
    assert_eq!(messages.len(), 1);
    let message = maildir.read("ord_1").await.unwrap().unwrap();
    assert_eq!(message.message_id, "ord_1@example.com");
    assert_eq!(message.to, "ada@example.com");
    assert_eq!(message.subject, "Your receipt INV-2026-000001 over 12.50 EUR");
    assert!(message.text.unwrap().contains("2 x Mug & spoon (MUG) at 6.25: 12.50 EUR"));
}

#[tokio::test]
async fn a_line_break_cannot_add_a_header() {
    let (database, dir) = (any_database().await, tempfile::tempdir().unwrap());
    let (sender, _) = filing(&database, dir.path()).await;
    let mut evil = args("ord_1\r\nBcc: x@example.com");
    evil.context["order"]["invoice_number"] = json!("1\r\nBcc: eve@example.com");
    let message = String::from_utf8(sender.compose(&evil).unwrap().bytes).unwrap();
    let (head, _) = message.split_once("\r\n\r\n").unwrap();
    assert!(!head.contains("\r\nBcc:"), "{head}");
    evil.to = "a@example.com\r\nBcc: eve@example.com".to_owned();
    assert!(matches!(sender.compose(&evil), Err(HandlerError::Discard(_))));
}

#[tokio::test]
async fn a_hole_in_the_context_and_an_unknown_template_are_dead_letters() {
    let (database, dir) = (any_database().await, tempfile::tempdir().unwrap());
    let (sender, _) = filing(&database, dir.path()).await;
    let mut holed = args("ord_1");
    holed.context.as_object_mut().unwrap().remove("totals");
    assert!(matches!(sender.compose(&holed), Err(HandlerError::Discard(_))));
    let mut unknown = args("ord_1");
    unknown.template = "../secret".to_owned();
    assert!(matches!(sender.compose(&unknown), Err(HandlerError::Discard(_))));
}

#[tokio::test]
async fn unsubscribing_takes_one_click_on_an_https_address() {
    let (database, dir) = (any_database().await, tempfile::tempdir().unwrap());
    let (sender, _) = filing(&database, dir.path()).await;
    let with = |url: &str, mailto: Option<&str>| {
        let mut args = args("news");
        args.unsubscribe = Some(serde_json::from_value(json!({"url": url, "mailto": mailto})).unwrap());
        sender.compose(&args).map(|message| String::from_utf8(message.bytes).unwrap())
    };
    let message = with("https://shop.example/u?t=1", Some("off@example.com")).unwrap();
    let unfolded = message.replace("\r\n ", " ");
    assert!(
        unfolded.contains("\r\nList-Unsubscribe: <https://shop.example/u?t=1>, <mailto:off@example.com>\r\n"),
        "{message}"
    );
    assert!(unfolded.contains("\r\nList-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n"), "{message}");
    for url in
        ["http://shop.example/u", "https://shop.example/u>\r\nBcc: x@example.com", "/u", "https://a/>,<x"]
    {
        assert!(matches!(with(url, None), Err(HandlerError::Discard(_))), "{url}");
    }
}

#[tokio::test]
async fn a_message_name_cannot_leave_the_directory() {
    let (database, dir) = (any_database().await, tempfile::tempdir().unwrap());
    let (_, maildir) = filing(&database, dir.path()).await;
    std::fs::write(dir.path().join("secret"), "x").unwrap();
    for name in ["../secret", "..", ".hidden", "", "a/b"] {
        assert!(maildir.read(name).await.unwrap().is_none(), "{name}");
    }
}
