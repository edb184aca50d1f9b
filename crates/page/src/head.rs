use maud::{Markup, PreEscaped, html};

const STYLE: &str = include_str!("page.css");

/// What stands at the head of every page, its style included: a page is one file.
pub(crate) fn head(title: &str) -> Markup {
    html! {
        head {
            meta charset="utf-8";
            meta name="viewport" content="width=device-width, initial-scale=1";
            title { "Punctual: " (title) }
            style { (PreEscaped(STYLE)) }
        }
    }
}
