//! Draws the benchmark's chart.

use charts_rs::HorizontalBarChart;
use serde_json::{Value, json};

/// The libraries in the chart, from top to bottom.
const SUBJECTS: [&str; 5] =
    ["edgepass", "jose", "aws-jwt-verify", "hono", "@tsndr/cloudflare-worker-jwt"];
const KINDS: [&str; 3] = ["ES256", "Ed25519", "RS256"];

/// Returns an SVG: time to verify a new token in workerd, divided by that of the raw signature.
pub(crate) fn of(results: &Value) -> anyhow::Result<String> {
    let ratio = |kind: &str, subject: &str| {
        let cold = &results["hosts"]["workerd"][kind]["cold"];
        let ratio = cold[subject].as_f64()? / cold["subtle"].as_f64()?;
        Some((ratio * 100.0).round() / 100.0)
    };
    let series: Vec<Value> = KINDS
        .iter()
        .map(|kind| {
            // The chart is drawn from the bottom up.
            let data = SUBJECTS.iter().rev().map(|subject| ratio(kind, subject));
            json!({"name": kind, "data": data.collect::<Vec<_>>(), "label_show": true})
        })
        .collect();
    let short = |name: &&'static str| name.rsplit('/').next().unwrap_or(name);
    let names: Vec<&str> = SUBJECTS.iter().rev().map(short).collect();
    let chart = json!({
        "width": 760, "height": 520, "font_family": "Arial",
        "margin": {"left": 12, "top": 12, "right": 48, "bottom": 12},
        "title_text": "A token verified for the first time, in workerd",
        "sub_title_text": "time over a raw crypto.subtle.verify of its signature; shorter is better",
        "legend_align": "right", "legend_margin": {"top": 62},
        "series_list": series, "x_axis_data": names,
    });
    Ok(HorizontalBarChart::from_json(&chart.to_string())?.svg()?)
}
