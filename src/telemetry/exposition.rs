//! The two forms in which `/metrics` can be read. The registry writes OpenMetrics 1.0; whoever does not ask for that gets Prometheus's
//! text format 0.0.4, which nearly is the same text: there, counters are declared by the name that their samples have, and there are no
//! units and no end mark.

use std::collections::HashSet;

use prometheus_client::encoding::text;
use prometheus_client::registry::Registry;

/// How metrics are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// OpenMetrics 1.0.0
    OpenMetrics,
    /// Prometheus text format 0.0.4
    Classic,
}

impl Form {
    /// What the client can read best. A scraper that knows OpenMetrics says so, as Prometheus does.
    pub fn accepted(accept: &str) -> Form {
        let is_wanted = |range: &str| {
            let mut parts = range.split(';').map(str::trim);
            let is_open = parts.next().is_some_and(|media| media.eq_ignore_ascii_case("application/openmetrics-text"));
            let mut weights = parts.filter_map(|part| part.strip_prefix("q=")).filter_map(|weight| weight.parse::<f32>().ok());
            is_open && !weights.any(|weight| weight <= 0.0)
        };
        if accept.split(',').any(is_wanted) { Form::OpenMetrics } else { Form::Classic }
    }

    /// Its media type.
    pub fn content_type(self) -> &'static str {
        match self {
            Form::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Form::Classic => "text/plain; version=0.0.4; charset=utf-8",
        }
    }
}

/// Everything that the registry has, as of now.
///
/// # Errors
/// A metric cannot be written.
pub fn encode(registry: &Registry, form: Form) -> Result<String, std::fmt::Error> {
    let mut page = String::new();
    text::encode(&mut page, registry)?;
    Ok(match form {
        Form::OpenMetrics => page,
        Form::Classic => classic(&page),
    })
}

fn classic(page: &str) -> String {
    let declared = |line| str::strip_prefix(line, "# TYPE ").and_then(|rest| rest.strip_suffix(" counter"));
    let counters: HashSet<&str> = page.lines().filter_map(declared).collect();
    let mut text = String::with_capacity(page.len());
    for line in page.lines() {
        if line.starts_with("# UNIT ") || line == "# EOF" {
            continue;
        }
        let mut words = line.splitn(4, ' ');
        match (words.next(), words.next(), words.next(), words.next()) {
            (Some("#"), Some(keyword), Some(name), Some(rest)) if counters.contains(name) => {
                text.push_str(&format!("# {keyword} {name}_total {rest}"));
            }
            _ => text.push_str(line),
        }
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_those_who_ask_for_openmetrics_get_it() {
        let prometheus = "application/openmetrics-text;version=1.0.0;q=0.5,application/openmetrics-text;version=0.0.1;q=0.4,\
                          text/plain;version=0.0.4;q=0.3,*/*;q=0.2";
        assert_eq!(Form::accepted(prometheus), Form::OpenMetrics);
        for accept in ["", "*/*", "text/plain", "application/openmetrics-text;q=0", "application/json", ";,;q"] {
            assert_eq!(Form::accepted(accept), Form::Classic, "{accept}");
        }
    }

    #[test]
    fn counters_are_declared_by_the_name_of_their_samples() {
        let page = "# HELP a_seconds Time.\n# TYPE a_seconds counter\n# UNIT a_seconds seconds\na_seconds_total 1.5\n\
                    # HELP a Other.\n# TYPE a gauge\na 1\n# EOF\n";
        let expected =
            "# HELP a_seconds_total Time.\n# TYPE a_seconds_total counter\na_seconds_total 1.5\n# HELP a Other.\n# TYPE a gauge\na 1\n";
        assert_eq!(classic(page), expected);
    }
}
