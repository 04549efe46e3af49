//! The receipt that is mailed for an order: the job's arguments.
//!
//! The worker's template `receipt` turns the context into words; sums are given both in minor
//! units and as decimal text, so that a template does no arithmetic.

use quintet_jobs::NewJob;
use quintet_types::Money;
use quintet_users_api::Account;
use serde_json::json;

use crate::orders::Order;

/// The job that mails the receipt. The order's id keys the message, so that a job that runs twice
/// sends one and the same message.
pub(crate) fn job(order: &Order, account: &Account) -> NewJob {
    let lines: Vec<_> = order
        .lines
        .iter()
        .map(|line| {
            json!({
                "sku": line.sku,
                "name": line.name,
                "quantity": line.quantity,
                "unit_amount": line.unit.amount,
                "unit_price": decimal(line.unit),
                "amount": line.amount.amount,
                "total": decimal(line.amount),
            })
        })
        .collect();
    let args = json!({
        "to": account.email,
        "template": "receipt",
        "message_key": order.id,
        "context": {
            "customer": { "name": account.name, "email": account.email },
            "customer_name": account.name,
            "order": {
                "id": order.id,
                "placed_at": order.placed_at,
                "invoice_number": order.invoice_number,
                "currency": order.total.currency,
            },
            "lines": lines,
            "totals": {
                "amount": order.total.amount,
                "currency": order.total.currency,
                "total": decimal(order.total),
            },
        },
    });
    NewJob::new("email.send", &args)
}

/// The sum as decimal text, such as `12.50`; ISO 4217 says how many digits the minor unit has.
fn decimal(money: Money) -> String {
    let digits: u32 = match money.currency.to_string().as_str() {
        "BIF" | "CLP" | "DJF" | "GNF" | "ISK" | "JPY" | "KMF" | "KRW" | "PYG" | "RWF" | "UGX" | "UYI"
        | "VND" | "VUV" | "XAF" | "XOF" | "XPF" => 0,
        "BHD" | "IQD" | "JOD" | "KWD" | "LYD" | "OMR" | "TND" => 3,
        "CLF" | "UYW" => 4,
        _ => 2,
    };
    if digits == 0 {
        return money.amount.to_string();
    }
    let sign = if money.amount < 0 { "-" } else { "" };
    let scale = 10u64.pow(digits);
    let amount = money.amount.unsigned_abs();
    let width = usize::try_from(digits).unwrap_or(0);
    format!("{sign}{}.{:0width$}", amount / scale, amount % scale)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_have_as_many_decimals_as_their_currency() {
        let cases = [
            (1250, "EUR", "12.50"),
            (5, "EUR", "0.05"),
            (0, "EUR", "0.00"),
            (-199, "USD", "-1.99"),
            (1250, "JPY", "1250"),
            (1250, "KWD", "1.250"),
            (i64::MIN, "EUR", "-92233720368547758.08"),
        ];
        for (amount, currency, text) in cases {
            assert_eq!(decimal(Money::new(amount, currency.parse().unwrap())), text);
        }
    }
}
