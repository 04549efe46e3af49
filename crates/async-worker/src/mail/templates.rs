//! The messages' texts. Each template is three files: subject, text and HTML.

use minijinja::syntax::SyntaxConfig;
use minijinja::{AutoEscape, Environment, UndefinedBehavior};
use serde_json::Value;

/// A rendered message.
#[derive(Debug, PartialEq)]
pub(crate) struct Rendered {
    pub(crate) subject: String,
    pub(crate) text: String,
    pub(crate) html: String,
}

/// The templates that ship with the worker.
pub(crate) struct Templates {
    environment: Environment<'static>,
}

/// Name, then the three files.
const SHIPPED: [(&str, [(&str, &str); 3]); 1] = [(
    "receipt",
    [
        ("receipt.subject.txt", include_str!("../../templates/receipt.subject.txt")),
        ("receipt.txt", include_str!("../../templates/receipt.txt")),
        ("receipt.html", include_str!("../../templates/receipt.html")),
    ],
)];

impl Templates {
    pub(crate) fn new() -> Result<Self, minijinja::Error> {
        let mut environment = Environment::new();
        // A receipt with a hole in it must not leave the house.
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build()?;
        environment.set_syntax(syntax);
        environment.set_auto_escape_callback(|name| {
            let html = std::path::Path::new(name).extension().is_some_and(|extension| extension == "html");
            if html { AutoEscape::Html } else { AutoEscape::None }
        });
        for (_, files) in SHIPPED {
            for (name, source) in files {
                environment.add_template(name, source)?;
            }
        }
        Ok(Self { environment })
    }

    pub(crate) fn render(&self, name: &str, context: &Value) -> Result<Rendered, minijinja::Error> {
        let render =
            |file: String| self.environment.get_template(&file)?.render(minijinja::value::Serde(context));
        // A line break in a subject would start another header.
        let subject = render(format!("{name}.subject.txt"))?.split_whitespace().collect::<Vec<_>>().join(" ");
        Ok(Rendered { subject, text: render(format!("{name}.txt"))?, html: render(format!("{name}.html"))? })
    }

    /// The template's name as a metric label; bounded to those that ship.
    pub(crate) fn label(name: &str) -> &'static str {
        SHIPPED.iter().find(|(shipped, _)| *shipped == name).map_or("unknown", |(shipped, _)| *shipped)
    }
}
