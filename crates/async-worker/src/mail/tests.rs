use serde_json::json;

use super::*;

fn args(key: &str) -> Args {
    serde_json::from_value(json!({
        "to": "ada@example.com",
        "template": "receipt",
        "message_key": key,
        "context": {
            "customer": {"name": "Ada <script>", "email": "ada@example.com"},
            "customer_name": "Ada",
            "order": {"id": key, "placed_at": "2026-03-01T12:00:00Z", "invoice_number": "INV-2026-000001", "currency": "EUR"},
            "lines": [{"sku": "MUG", "name": "Mug & spoon", "quantity": 2, "unit_amount": 625, "unit_price": "6.25", "amount": 1250, "total": "12.50"}],
            "totals": {"amount": 1250, "currency": "EUR", "total": "12.50"},
        },
    }))
    .unwrap()
}

async fn sender(dir: &std::path::Path) -> (EmailSend, Maildir) {
    let maildir = Maildir::open(dir).await.unwrap();
    let from = "Shop <shop@example.com>".parse().unwrap();
    (EmailSend::new(Transport::Maildir(maildir.clone()), Templates::new().unwrap(), from), maildir)
}

#[tokio::test]
async fn a_receipt_delivered_twice_is_one_message_with_a_stable_id() {
    let dir = tempfile::tempdir().unwrap();
    let (sender, maildir) = sender(dir.path()).await;
    for _ in 0..2 {
        let message = sender.compose(&args("ord_1")).unwrap();
        sender.transport.deliver("ord_1", &message).await.unwrap();
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
async fn html_from_a_customer_is_text_in_the_mail() {
    let dir = tempfile::tempdir().unwrap();
    let (sender, _) = sender(dir.path()).await;
    let rendered = sender.templates.render("receipt", &args("ord_1").context).unwrap();
    assert!(rendered.html.contains("Ada &lt;script&gt;"), "{}", rendered.html);
    assert!(rendered.html.contains("Mug &amp; spoon"));
}

#[tokio::test]
async fn a_line_break_cannot_add_a_header() {
    let dir = tempfile::tempdir().unwrap();
    let (sender, _) = sender(dir.path()).await;
    let mut evil = args("ord_1\r\nBcc: x@example.com");
    evil.context["order"]["invoice_number"] = json!("1\r\nBcc: eve@example.com");
    let message = String::from_utf8(sender.compose(&evil).unwrap().formatted()).unwrap();
    let (head, _) = message.split_once("\r\n\r\n").unwrap();
    assert!(!head.contains("\r\nBcc:"), "{head}");
    evil.to = "a@example.com\r\nBcc: eve@example.com".to_owned();
    assert!(matches!(sender.compose(&evil), Err(HandlerError::Discard(_))));
}

#[tokio::test]
async fn a_hole_in_the_context_and_an_unknown_template_are_dead_letters() {
    let dir = tempfile::tempdir().unwrap();
    let (sender, _) = sender(dir.path()).await;
    let mut holed = args("ord_1");
    holed.context.as_object_mut().unwrap().remove("totals");
    assert!(matches!(sender.compose(&holed), Err(HandlerError::Discard(_))));
    let mut unknown = args("ord_1");
    unknown.template = "../secret".to_owned();
    assert!(matches!(sender.compose(&unknown), Err(HandlerError::Discard(_))));
}

#[tokio::test]
async fn a_message_name_cannot_leave_the_directory() {
    let dir = tempfile::tempdir().unwrap();
    let (_, maildir) = sender(dir.path()).await;
    std::fs::write(dir.path().join("secret"), "x").unwrap();
    for name in ["../secret", "..", ".hidden", "", "a/b"] {
        assert!(maildir.read(name).await.unwrap().is_none(), "{name}");
    }
}
