//! Where traces go: by `--otlp-endpoint`, else by the variables that OpenTelemetry has for it. What else those say (the service's name, its
//! attributes, sampling, headers, batches) its SDK reads by itself.

use std::time::Duration;

use pgsluice::telemetry::Collector;

const FLAG: &str = "--otlp-endpoint";
const TRACES_ENDPOINT: &str = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT";
const ENDPOINT: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";
const TIMEOUTS: [&str; 2] = ["OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "OTEL_EXPORTER_OTLP_TIMEOUT"];
const PROTOCOLS: [&str; 2] = ["OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"];
const CERTIFICATES: [&str; 2] = ["OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE", "OTEL_EXPORTER_OTLP_CERTIFICATE"];
const TIMEOUT_DEFAULT: Duration = Duration::from_secs(10);

/// The collector, if there is one and nobody has switched traces off.
pub(crate) fn collector(flag: Option<&str>, variable: impl Fn(&str) -> Option<String>) -> Result<Option<Collector>, String> {
    // To OpenTelemetry an empty variable is none.
    let set = |name: &str| variable(name).filter(|value| !value.trim().is_empty());
    let first = |names: [&'static str; 2]| names.into_iter().find_map(|name| Some((name, set(name)?)));
    let is_off = set("OTEL_SDK_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true"))
        || set("OTEL_TRACES_EXPORTER").is_some_and(|value| value == "none");
    let flag = flag.filter(|url| !url.is_empty()).map(|url| (FLAG, url.to_owned()));
    let Some((origin, url)) = flag.or_else(|| first([TRACES_ENDPOINT, ENDPOINT])).filter(|_| !is_off) else {
        return Ok(None);
    };
    // Whoever means this program in particular knows what it speaks; what is set for all programs may be meant for others.
    if let Some((name, protocol)) = first(PROTOCOLS).filter(|(_, protocol)| origin != FLAG && protocol != "http/protobuf") {
        return Err(format!(
            "{name} is {protocol:?}, and traces are sent by \"http/protobuf\" only, in general to port 4318"
        ));
    }
    let timeout = match first(TIMEOUTS) {
        Some((name, text)) => milliseconds(&text).ok_or_else(|| format!("{name} is a number of milliseconds from 1 on"))?,
        None => TIMEOUT_DEFAULT,
    };
    Ok(Some(Collector {
        origin,
        url: Collector::check(origin, &url, origin != TRACES_ENDPOINT)?,
        timeout,
        authorities: first(CERTIFICATES).map(|(_, file)| file.into()),
    }))
}

fn milliseconds(text: &str) -> Option<Duration> {
    // A day: beyond that somebody has meant something else.
    let number = text.trim().parse().ok().filter(|number| (1..=86_400_000).contains(number))?;
    Some(Duration::from_millis(number))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn by(flag: Option<&str>, variables: &[(&str, &str)]) -> Result<Option<Collector>, String> {
        let value = |wanted: &str| variables.iter().find(|(name, _)| *name == wanted).map(|(_, value)| (*value).to_owned());
        collector(flag, value)
    }

    #[test]
    fn the_flag_is_stronger_than_the_endpoint_of_traces_and_that_than_the_common_one() {
        let all = [(ENDPOINT, "http://common:4318"), (TRACES_ENDPOINT, "http://traces:4318/as-it-is")];
        for (flag, variables, url) in [
            (Some("http://flag:4318"), &all[..], Some("http://flag:4318/v1/traces")),
            (None, &all[..], Some("http://traces:4318/as-it-is")),
            (Some(""), &all[..1], Some("http://common:4318/v1/traces")),
            (None, &[(ENDPOINT, ""), (TRACES_ENDPOINT, " ")], None),
            (None, &[], None),
        ] {
            assert_eq!(by(flag, variables).unwrap().map(|collector| collector.url).as_deref(), url);
        }
    }

    #[test]
    fn what_switches_traces_off_is_stronger_than_what_says_where_they_go() {
        for (name, value, is_on) in [
            ("OTEL_SDK_DISABLED", "TRUE", false),
            ("OTEL_SDK_DISABLED", "false", true),
            ("OTEL_TRACES_EXPORTER", "none", false),
            ("OTEL_TRACES_EXPORTER", "otlp", true),
        ] {
            assert_eq!(by(Some("http://c"), &[(name, value)]).unwrap().is_some(), is_on, "{name}={value}");
        }
    }

    #[test]
    fn what_makes_no_sense_is_refused_by_its_name() {
        let endpoint = (ENDPOINT, "http://c");
        assert!(by(None, &[(ENDPOINT, "c:4317")]).unwrap_err().starts_with(ENDPOINT));
        assert!(by(None, &[endpoint, (PROTOCOLS[1], "grpc")]).unwrap_err().contains("grpc"));
        assert!(by(Some("http://c"), &[(PROTOCOLS[1], "grpc")]).unwrap().is_some());
        for timeout in ["0", "10s", "-1", "1e3"] {
            assert!(by(None, &[endpoint, (TIMEOUTS[1], timeout)]).unwrap_err().starts_with(TIMEOUTS[1]), "{timeout}");
        }
        let timeouts = [endpoint, (TIMEOUTS[0], "250"), (TIMEOUTS[1], "500")];
        assert_eq!(by(None, &timeouts).unwrap().unwrap().timeout, Duration::from_millis(250));
        // Where nothing is sent, nothing of it matters.
        assert!(by(None, &[(TIMEOUTS[1], "nonsense")]).unwrap().is_none());
    }
}
