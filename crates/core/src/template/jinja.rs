//! The one place where Jinja runs, with limits on work and output: [`render`].

use std::collections::BTreeSet;
use std::io::{self, Write};

use minijinja::syntax::SyntaxConfig;
use minijinja::{AutoEscape, Environment, Error, ErrorKind, UndefinedBehavior, Value};
use serde::Serialize;

use super::{Rendered, TemplateError};

/// Instructions of the template machine a rendering may take; the largest known chat templates take a few thousand.
const FUEL: u64 = 2_000_000;
/// Most bytes a rendering may write: a report's data are in the page, so this is generous.
const OUTPUT_LIMIT: usize = 256 << 20;

/// Renders a template; `html` escapes every value that is put into it.
pub fn render(
    name: &str,
    source: &str,
    context: impl Serialize,
    html: bool,
) -> Result<String, TemplateError> {
    let failed =
        |error: &Error| TemplateError::Render { name: name.to_owned(), reason: message(error) };
    let mut environment = environment(html).map_err(|error| failed(&error))?;
    environment.add_template("template", source).map_err(|error| failed(&error))?;
    let template = environment.get_template("template").map_err(|error| failed(&error))?;
    let mut out = Limited { bytes: Vec::new() };
    template
        .render_captured_to(Value::from(minijinja::value::Serde(context)), &mut out)
        .map_err(|error| failed(&error))?;
    String::from_utf8(out.bytes)
        .map_err(|error| TemplateError::Render { name: name.to_owned(), reason: error.to_string() })
}

/// The variables that a template expects to be given: what a caller compares with what it has, before the first rendering.
pub fn variables(name: &str, source: &str) -> Result<BTreeSet<String>, TemplateError> {
    let failed =
        |error: &Error| TemplateError::Render { name: name.to_owned(), reason: message(error) };
    let environment = environment(false).map_err(|error| failed(&error))?;
    let template = environment.template_from_str(source).map_err(|error| failed(&error))?;
    let globals: BTreeSet<&str> = environment.globals().map(|(name, _)| name).collect();
    Ok(template
        .undeclared_variables(false)
        .into_iter()
        .filter(|variable| !globals.contains(variable.as_str()))
        .collect())
}

/// One text of the user's that a template puts somewhere.
#[derive(Debug, Clone, Copy)]
pub(super) struct UserField<'a> {
    pub(super) text: &'a str,
    /// Whether the loss covers it.
    pub(super) learned: bool,
}

impl<'a> UserField<'a> {
    pub(super) fn given(text: &'a str) -> Self {
        Self { text, learned: false }
    }
}

/// Renders with the user's fields kept apart from the template's own text.
///
/// `context` builds the variables from the fields; it is called with the true values and with placeholders, and the two
/// renderings must be the same but for the fields.
pub(super) fn render_fields<C: Serialize>(
    name: &str,
    source: &str,
    fields: &[UserField<'_>],
    control_tokens: &[String],
    context: impl Fn(&[String]) -> C,
) -> Result<Rendered, TemplateError> {
    let owned: Vec<String> = fields.iter().map(|field| field.text.to_owned()).collect();
    let trimmed: Vec<String> = fields.iter().map(|field| field.text.trim().to_owned()).collect();
    let whole = render(name, source, context(&owned), false)?;
    // An empty field stays empty, since templates ask whether a field is there.
    let placeholders: Vec<String> = (0..fields.len())
        .map(|at| if fields[at].text.is_empty() { String::new() } else { placeholder(at) })
        .collect();
    let marked = render(name, source, context(&placeholders), false)?;
    for values in [&owned, &trimmed] {
        let learned = |at: usize| fields[at].learned;
        let rendered = split_at_placeholders(&marked, values, learned, control_tokens);
        if rendered.text() == whole {
            return Ok(rendered);
        }
    }
    Err(TemplateError::RewritesContent { name: name.to_owned() })
}

/// Private-use characters around a number: no template's own text holds them.
fn placeholder(at: usize) -> String {
    format!("\u{F8F0}{at}\u{F8F1}")
}

fn split_at_placeholders(
    marked: &str,
    values: &[String],
    learned: impl Fn(usize) -> bool,
    control_tokens: &[String],
) -> Rendered {
    let mut rendered = Rendered::default();
    let mut rest = marked;
    while let Some(open) = rest.find('\u{F8F0}') {
        let after = &rest[open + '\u{F8F0}'.len_utf8()..];
        let field = after.split_once('\u{F8F1}').and_then(|(number, tail)| {
            number
                .parse::<usize>()
                .ok()
                .and_then(|at| values.get(at).map(|value| (at, value)))
                .map(|(at, value)| (at, value, tail))
        });
        let Some((at, value, tail)) = field else { break };
        rendered.push_template(&rest[..open], control_tokens);
        rendered.push_text(value, learned(at));
        rest = tail;
    }
    rendered.push_template(rest, control_tokens);
    rendered
}

/// As Hugging Face renders chat templates: block lines leave no trace, Python's string methods are known, and there is
/// no loader, so nothing can be included.
fn environment(html: bool) -> Result<Environment<'static>, Error> {
    let mut environment = Environment::new();
    let syntax = SyntaxConfig::builder()
        .trim_blocks(true)
        .lstrip_blocks(true)
        .keep_trailing_newline(true)
        .build()?;
    environment.set_syntax(syntax);
    environment.set_undefined_behavior(UndefinedBehavior::Lenient);
    environment.set_auto_escape_callback(
        move |_| {
            if html { AutoEscape::Html } else { AutoEscape::None }
        },
    );
    environment.set_fuel(Some(FUEL));
    environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
    environment.add_function("raise_exception", |text: String| -> Result<String, Error> {
        Err(Error::new(ErrorKind::InvalidOperation, text))
    });
    Ok(environment)
}

fn message(error: &Error) -> String {
    match error.line() {
        Some(line) => format!("line {line}: {error}"),
        None => error.to_string(),
    }
}

struct Limited {
    bytes: Vec<u8>,
}

impl Write for Limited {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.bytes.len() + bytes.len() > OUTPUT_LIMIT {
            return Err(io::Error::other("the output is too long"));
        }
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn endless_work_is_stopped() {
        let source =
            "{% for a in range(9999) %}{% for b in range(9999) %}x{% endfor %}{% endfor %}";
        let error = render("bomb", source, json!({}), false).unwrap_err();
        assert!(matches!(error, TemplateError::Render { .. }), "{error}");
    }

    #[test]
    fn variables_are_those_that_must_be_given() {
        let source = "{{ a.b }}{% for c in d %}{{ loop.index }}{{ c }}{% endfor %}{{ range(3) }}";
        let found = variables("x", source).unwrap();
        assert_eq!(found.into_iter().collect::<Vec<_>>(), ["a", "d"]);
        assert!(variables("x", "{{ a").is_err());
    }

    #[test]
    fn html_is_escaped_only_when_asked() {
        let context = json!({"name": "<b>"});
        assert_eq!(render("a", "{{ name }}", &context, true).unwrap(), "&lt;b&gt;");
        assert_eq!(render("a", "{{ name }}", &context, false).unwrap(), "<b>");
    }
}
