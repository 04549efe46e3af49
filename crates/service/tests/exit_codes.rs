//! `docs/reference/exit-codes.md` is made from [`Code::ALL`] and says what it says.

#![expect(clippy::unwrap_used, reason = "a helper of the test below")]

use std::fmt::Write as _;
use std::path::Path;

use quintet_service::Code;

const PAGE: &str = "docs/reference/exit-codes.md";

fn page() -> String {
    let mut text = String::from(
        "# Exit codes\n\n\
         The same for all five binaries. 64 to 78 are those of `sysexits.h`, which systemd shows by name. What went\n\
         wrong is on standard error until the process is ready, and in the log from then on.\n\n\
         Made from `quintet_service::Code`; change it there.\n\n\
         | Code | Means |\n| ---: | --- |\n",
    );
    for (code, meaning) in Code::ALL {
        writeln!(text, "| {} | {meaning} |", code.number()).unwrap();
    }
    text
}

#[test]
fn the_reference_page_of_exit_codes_is_the_one_the_code_makes() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(PAGE);
    if std::env::var_os("UPDATE").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, page()).unwrap();
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(
        written,
        page(),
        "{PAGE} is not what quintet_service::Code says; write it again with \
         `UPDATE=1 cargo test -p quintet-service --test exit_codes`"
    );
}
