use maud::{DOCTYPE, Markup, html};
use punctual_plan::vhpc09::{Claim, Reproduction, Row};

use crate::head::head;

/// The published experiment and ours as a page.
#[must_use]
pub fn vhpc09(result: &Reproduction) -> String {
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            (head("The downtime of a streaming server, published and ours"))
            body {
                h1 { "The downtime of a streaming server, published and ours" }
                p {
                    "Checconi, Cucinotta, Stein, " i { "Real-Time Issues in Live Migration of Virtual \
                    Machines" } " (VHPC 2009) beside the engine of Punctual on a trace of "
                    (format!("{:.0} s", result.trace.as_secs_f64())) ": " (result.pages.get())
                    " pages, " (result.written.get()) " of them written; medians over "
                    (result.windows) " moments of the trace, the least and the most in brackets."
                }
                table {
                    tr {
                        th { "rounds" } th { "order" } th { "published ms" } th { "ours ms" }
                        th { "published s" } th { "ours s" } th { "pages left" }
                    }
                    @for row in &result.rows { (shown(row)) }
                }
                h2 { "What was claimed" }
                table {
                    tr {
                        th { "rounds" } th { "interruption shorter" } th { "published" } th { "ours" }
                        th { "whole move" } th { "holds" }
                    }
                    @for claim in &result.claims { (judged(claim)) }
                }
                h2 { "Why" }
                ul { @for remark in &result.remarks { li { (remark) } } }
            }
        }
    };
    page.into_string()
}

fn shown(row: &Row) -> Markup {
    let ms = |time: std::time::Duration| format!("{:.0}", time.as_secs_f64() * 1e3);
    let published = row.published.as_ref();
    html! {
        tr {
            td { (row.rounds) }
            td { (row.variant.name()) }
            td { (published.map_or_else(|| "–".to_owned(), |times| ms(times.downtime))) }
            td { (ms(row.ours.downtime)) " (" (format!("{:.0}–{:.0}", row.range.0, row.range.1)) ")" }
            td { (published.map_or_else(|| "–".to_owned(), |t| format!("{:.1}", t.total.as_secs_f64()))) }
            td { (format!("{:.2}", row.ours.total.as_secs_f64())) }
            td { (row.left.get()) }
        }
    }
}

fn judged(claim: &Claim) -> Markup {
    let percent = |share: f64| format!("{:.0} %", share * 100.0);
    html! {
        tr {
            td { (claim.rounds) }
            td { (claim.better.name()) " than " (claim.than.name()) }
            td { (percent(claim.published)) }
            td { (percent(claim.ours)) }
            td { (format!("{:.1} %", claim.total * 100.0)) }
            td { (if claim.holds { "yes" } else { "no" }) }
        }
    }
}

#[cfg(test)]
mod tests {
    use punctual_plan::synthetic::Synthetic;

    #[test]
    fn the_page_has_every_row_and_claim() {
        let workload: Synthetic = "zipf:memory=8MiB,set=1MiB,rate=500,for=4s".parse().unwrap();
        let result = punctual_plan::vhpc09::reproduce(&workload.trace(), None);
        let page = super::vhpc09(&result);
        assert_eq!(page.matches("<tr>").count(), 2 + result.rows.len() + result.claims.len());
        assert!(page.contains("570") && page.contains("47 %"));
    }
}
