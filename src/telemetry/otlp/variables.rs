//! `telemetry.otlp` and OpenTelemetry's standard variables into what is sent where, how and by what name.
//! The file's word counts before the environment's, but for what switches something off. Opens nothing; shows no header's value.

use std::fmt;
use std::time::Duration;

use http::uri::Uri;
use http::{HeaderName, HeaderValue};

use super::wire::{Any, attribute, piece};
use crate::config::telemetry::Otlp;
use crate::telemetry::trace::{ALL, Sampler};

/// What the specification has where nothing is said.
const ENDPOINT: &str = "http://localhost:4317";
const TIMEOUT: Duration = Duration::from_secs(10);
const INTERVAL: Duration = Duration::from_secs(60);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    Traces,
    Metrics,
    Logs,
}

/// What is sent.
#[derive(Debug, Default)]
pub struct Plan {
    /// The attributes of the `Resource` that all of it is of, as they are sent.
    pub resource: Vec<u8>,
    pub traces: Option<(Target, Sampler)>,
    /// How often.
    pub metrics: Option<(Target, Duration)>,
    pub logs: Option<Target>,
}

/// Where one signal goes.
pub struct Target {
    pub signal: Signal,
    pub endpoint: Uri,
    /// They may be credentials.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// For one export with all its attempts.
    pub timeout: Duration,
}

impl fmt::Debug for Target {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Target").field("signal", &self.signal).field("endpoint", &self.endpoint).finish_non_exhaustive()
    }
}

impl Signal {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Traces => "traces",
            Self::Metrics => "metrics",
            Self::Logs => "logs",
        }
    }

    fn is_in(self, otlp: &Otlp) -> bool {
        match self {
            Self::Traces => otlp.traces,
            Self::Metrics => otlp.metrics,
            Self::Logs => otlp.logs,
        }
    }
}

/// The environment, in which an empty variable is none (Environment Variable Specification, "Parsing empty value").
struct Variables<'e>(&'e dyn Fn(&str) -> Option<String>);

impl Plan {
    /// `Err` says which variable is wrong, and what would be right.
    pub fn read(said: Option<&Otlp>, environment: &dyn Fn(&str) -> Option<String>) -> Result<Self, String> {
        let variables = Variables(environment);
        if variables.get("OTEL_SDK_DISABLED").is_some_and(|text| text.eq_ignore_ascii_case("true")) {
            return Ok(Self::default());
        }
        let target = |signal| variables.target(signal, said);
        let traces = match target(Signal::Traces)? {
            Some(target) => Some((target, variables.sampler(said)?)),
            None => None,
        };
        let metrics = match target(Signal::Metrics)? {
            Some(target) => Some((target, variables.milliseconds("OTEL_METRIC_EXPORT_INTERVAL")?.unwrap_or(INTERVAL))),
            None => None,
        };
        Ok(Self { resource: variables.resource()?, traces, metrics, logs: target(Signal::Logs)? })
    }

    pub fn is_empty(&self) -> bool {
        self.traces.is_none() && self.metrics.is_none() && self.logs.is_none()
    }
}

impl Variables<'_> {
    fn get(&self, name: &str) -> Option<String> {
        (self.0)(name).map(|text| text.trim().to_owned()).filter(|text| !text.is_empty())
    }

    /// That of the signal, or that of all.
    fn of(&self, signal: Signal, rest: &str) -> Option<(String, String)> {
        let own = format!("OTEL_EXPORTER_OTLP_{}_{rest}", signal.as_str().to_ascii_uppercase());
        [own, format!("OTEL_EXPORTER_OTLP_{rest}")].into_iter().find_map(|name| Some((self.get(&name)?, name)).map(|(text, name)| (name, text)))
    }

    fn target(&self, signal: Signal, said: Option<&Otlp>) -> Result<Option<Target>, String> {
        let exporter = format!("OTEL_{}_EXPORTER", signal.as_str().to_ascii_uppercase());
        match self.get(&exporter).as_deref() {
            None | Some("otlp") => {}
            Some("none") => return Ok(None),
            Some(other) => return Err(format!("`{exporter}` is `{other}`; it is `otlp` or `none`")),
        }
        if said.is_some_and(|said| !signal.is_in(said)) {
            return Ok(None);
        }
        let in_file = said.and_then(|said| said.endpoint.clone()).map(|text| ("telemetry.otlp.endpoint".to_owned(), text));
        let standard = || said.map(|_| (String::new(), ENDPOINT.to_owned()));
        let Some((name, text)) = in_file.or_else(|| self.of(signal, "ENDPOINT")).or_else(standard) else { return Ok(None) };
        if let Some((name, text)) = self.of(signal, "PROTOCOL").filter(|(_, text)| text != "grpc") {
            return Err(format!("`{name}` is `{text}`; only `grpc` is spoken here, at a collector's port 4317 as a rule"));
        }
        if let Some((name, _)) = self.of(signal, "CERTIFICATE").or_else(|| self.of(signal, "CLIENT_CERTIFICATE")) {
            return Err(format!("`{name}` is not known here; a collector is believed by the system's roots, or those that `SSL_CERT_FILE` names"));
        }
        let endpoint = self.endpoint(signal, (&name, &text))?;
        let headers = self.of(signal, "HEADERS").map_or(Ok(Vec::new()), |(name, text)| headers(&name, &text))?;
        let timeout = match self.of(signal, "TIMEOUT") {
            Some((name, _)) => self.milliseconds(&name)?.unwrap_or(TIMEOUT),
            None => TIMEOUT,
        };
        Ok(Some(Target { signal, endpoint, headers, timeout }))
    }

    fn endpoint(&self, signal: Signal, (name, text): (&str, &str)) -> Result<Uri, String> {
        // Without a scheme, `INSECURE` says which.
        let insecure = self.of(signal, "INSECURE").is_some_and(|(_, text)| text.eq_ignore_ascii_case("true"));
        let whole = match (text.contains("://"), insecure) {
            (true, _) => text.to_owned(),
            (false, true) => format!("http://{text}"),
            (false, false) => format!("https://{text}"),
        };
        let uri = whole.parse::<Uri>().ok().filter(|uri| matches!(uri.scheme_str(), Some("http" | "https")) && uri.authority().is_some());
        // What stands before an `@` would be a secret.
        let uri = uri.filter(|uri| uri.authority().is_some_and(|authority| !authority.as_str().contains('@')));
        uri.ok_or_else(|| format!("`{name}` is no address such as `http://collector:4317`, without a user and a password"))
    }

    fn milliseconds(&self, name: &str) -> Result<Option<Duration>, String> {
        let Some(text) = self.get(name) else { return Ok(None) };
        let read = text.parse().ok().filter(|millis: &u64| (1..=86_400_000).contains(millis)).map(Duration::from_millis);
        read.map(Some).ok_or_else(|| format!("`{name}` is `{text}`; it is a number of milliseconds, from 1 to 86400000"))
    }

    fn sampler(&self, said: Option<&Otlp>) -> Result<Sampler, String> {
        const KNOWN: &str = "`always_on`, `always_off`, `traceidratio`, or one of them behind `parentbased_`";
        if let Some(said) = said.filter(|said| said.sample < ALL) {
            return Ok(Sampler { parent_based: true, share: said.sample });
        }
        let text = self.get("OTEL_TRACES_SAMPLER").unwrap_or_else(|| "parentbased_always_on".into());
        let (parent_based, root) = text.strip_prefix("parentbased_").map_or((false, &*text), |root| (true, root));
        let share = match root {
            "always_on" => ALL,
            "always_off" => 0,
            "traceidratio" => match self.get("OTEL_TRACES_SAMPLER_ARG") {
                None => ALL,
                Some(text) => {
                    let share = text.parse::<f64>().ok().filter(|share| (0.0..=1.0).contains(share));
                    let share = share.ok_or_else(|| format!("`OTEL_TRACES_SAMPLER_ARG` is `{text}`; it is a share from 0.0 to 1.0"))?;
                    (share * f64::from(ALL)).round() as u32
                }
            },
            _ => return Err(format!("`OTEL_TRACES_SAMPLER` is `{text}`; known are {KNOWN}")),
        };
        Ok(Sampler { parent_based, share })
    }

    fn resource(&self) -> Result<Vec<u8>, String> {
        let name = "OTEL_RESOURCE_ATTRIBUTES";
        let mut pairs = self.get(name).map_or(Ok(Vec::new()), |text| pairs(name, &text))?;
        if let Some(service) = self.get("OTEL_SERVICE_NAME") {
            pairs.push(("service.name".into(), service));
        }
        let instance = getrandom::u64().unwrap_or_default();
        let mut all = vec![
            ("service.name".to_owned(), "scopegate".to_owned()),
            ("service.version".to_owned(), env!("CARGO_PKG_VERSION").to_owned()),
            ("service.instance.id".to_owned(), format!("{instance:016x}")),
        ];
        for (key, value) in pairs {
            // The last word counts.
            all.retain(|(known, _)| *known != key);
            all.push((key, value));
        }
        let mut out = Vec::new();
        all.iter().for_each(|(key, value)| attribute(&mut out, piece(1), key, Any::Text(value)));
        Ok(out)
    }
}

fn headers(name: &str, text: &str) -> Result<Vec<(HeaderName, HeaderValue)>, String> {
    let header = |(key, value): (String, String)| {
        let (key, mut value) = (HeaderName::try_from(key.to_ascii_lowercase()).ok()?, HeaderValue::from_str(&value).ok()?);
        value.set_sensitive(true);
        Some((key, value))
    };
    let read: Option<Vec<_>> = pairs(name, text)?.into_iter().map(header).collect();
    read.ok_or_else(|| format!("`{name}` has a pair that is no header; it is `name=value` pairs with commas between them"))
}

/// W3C Baggage without properties: `key=value` pairs, percent-encoded. The value may be a secret, and is not told.
fn pairs(name: &str, text: &str) -> Result<Vec<(String, String)>, String> {
    let pair = |pair: &str| {
        let (key, value) = pair.split_once('=')?;
        let key = key.trim();
        Some((key.to_owned(), decoded(value.trim())?)).filter(|_| !key.is_empty())
    };
    let read: Option<Vec<_>> = text.split(',').filter(|part| !part.trim().is_empty()).map(pair).collect();
    read.ok_or_else(|| format!("`{name}` is no list of `name=value` pairs with commas between them, percent-encoded"))
}

fn decoded(text: &str) -> Option<String> {
    let mut parts = text.split('%');
    let mut out = parts.next()?.as_bytes().to_vec();
    for part in parts {
        let (digits, rest) = part.split_at_checked(2)?;
        out.push(u8::from_str_radix(digits, 16).ok()?);
        out.extend_from_slice(rest.as_bytes());
    }
    String::from_utf8(out).ok()
}

#[cfg(test)]
mod tests {
    use opentelemetry_proto::tonic::common::v1::{KeyValueList, any_value::Value};
    use prost::Message;

    use super::*;

    fn plan(said: Option<&Otlp>, variables: &[(&str, &str)]) -> Result<Plan, String> {
        Plan::read(said, &|name| variables.iter().find(|(known, _)| *known == name).map(|(_, text)| (*text).to_owned()))
    }

    fn endpoints(plan: &Plan) -> [Option<String>; 3] {
        let text = |target: &Target| target.endpoint.to_string();
        [plan.traces.as_ref().map(|(target, _)| text(target)), plan.metrics.as_ref().map(|(target, _)| text(target)), plan.logs.as_ref().map(text)]
    }

    #[test]
    fn nothing_is_sent_unless_somebody_says_where() {
        let none = [None, None, None];
        let endpoint = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c:4317");
        assert_eq!(endpoints(&plan(None, &[]).unwrap()), none);
        assert_eq!(endpoints(&plan(None, &[("OTEL_EXPORTER_OTLP_ENDPOINT", " ")]).unwrap()), none);
        assert_eq!(endpoints(&plan(None, &[endpoint, ("OTEL_SDK_DISABLED", "True")]).unwrap()), none);
        let all = Some("http://c:4317/".to_owned());
        assert_eq!(endpoints(&plan(None, &[endpoint]).unwrap()), [all.clone(), all.clone(), all.clone()]);
        let some = [endpoint, ("OTEL_TRACES_EXPORTER", "none"), ("OTEL_EXPORTER_OTLP_LOGS_ENDPOINT", "https://logs:1")];
        assert_eq!(endpoints(&plan(None, &some).unwrap()), [None, all, Some("https://logs:1/".into())]);
    }

    #[test]
    fn the_file_counts_before_the_environment() {
        let said = Otlp { endpoint: Some("http://file:1".into()), logs: false, sample: 250_000, ..Otlp::default() };
        let variables =
            [("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c:4317"), ("OTEL_TRACES_SAMPLER", "always_off"), ("OTEL_METRIC_EXPORT_INTERVAL", "500")];
        let plan_of = |said| plan(Some(said), &variables).unwrap();
        let plan = plan_of(&said);
        assert_eq!(endpoints(&plan), [Some("http://file:1/".into()), Some("http://file:1/".into()), None]);
        assert_eq!(plan.traces.unwrap().1, Sampler { parent_based: true, share: 250_000 });
        assert_eq!(plan.metrics.unwrap().1, Duration::from_millis(500));
        let plan = plan_of(&Otlp { endpoint: None, sample: ALL, ..said });
        assert_eq!(endpoints(&plan)[0].as_deref(), Some("http://c:4317/"));
        assert_eq!(plan.traces.unwrap().1, Sampler { parent_based: false, share: 0 });
        let nowhere = Plan::read(Some(&Otlp::default()), &|_| None).unwrap();
        assert_eq!(endpoints(&nowhere)[0].as_deref(), Some("http://localhost:4317/"));
    }

    #[test]
    fn samplers_have_their_standard_names() {
        let sampler = |text, share| {
            let variables = [("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c"), ("OTEL_TRACES_SAMPLER", text), ("OTEL_TRACES_SAMPLER_ARG", share)];
            plan(None, &variables).map(|plan| plan.traces.map(|(_, Sampler { parent_based, share })| (parent_based, share)).unwrap())
        };
        assert_eq!(sampler("", ""), Ok((true, ALL)));
        assert_eq!(sampler("always_off", ""), Ok((false, 0)));
        assert_eq!(sampler("traceidratio", "0.25"), Ok((false, 250_000)));
        assert_eq!(sampler("parentbased_traceidratio", "0.5"), Ok((true, 500_000)));
        assert!(sampler("jaeger_remote", "").is_err() && sampler("traceidratio", "2").is_err());
    }

    #[test]
    fn whoever_it_is_has_a_name() {
        let attributes = |variables: &[(&str, &str)]| {
            let list = KeyValueList::decode(&*plan(None, variables).unwrap().resource).unwrap();
            let text = |value| if let Some(Value::StringValue(text)) = value { text } else { String::new() };
            list.values.into_iter().map(|one| format!("{}={}", one.key, text(one.value.unwrap().value))).collect::<Vec<_>>()
        };
        assert_eq!(attributes(&[])[0], "service.name=scopegate");
        let said = [("OTEL_RESOURCE_ATTRIBUTES", "service.name=a, deployment.environment.name=a%2Cb"), ("OTEL_SERVICE_NAME", "gate")];
        let told = attributes(&said);
        assert!(told.contains(&"service.name=gate".into()) && told.contains(&"deployment.environment.name=a,b".into()), "{told:?}");
        assert_eq!(told.iter().filter(|text| text.starts_with("service.name")).count(), 1);
    }

    #[test]
    fn headers_are_sent_and_never_shown() {
        let variables = [("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c"), ("OTEL_EXPORTER_OTLP_HEADERS", "Authorization=Bearer%20abc,x-team=a")];
        let plan = plan(None, &variables).unwrap();
        assert_eq!(plan.logs.as_ref().unwrap().headers[0].1, "Bearer abc");
        assert!(!format!("{plan:?}").contains("abc"));
    }

    #[test]
    fn what_is_wrong_is_named_and_no_value_that_may_be_a_secret() {
        for (name, value) in [
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "ftp://s3cret@c"),
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://user:s3cret@c"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "s3cret"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "a=%zzs3cret"),
            ("OTEL_EXPORTER_OTLP_LOGS_HEADERS", "a b=s3cret"),
            ("OTEL_RESOURCE_ATTRIBUTES", "s3cret"),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf"),
            ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "http/json"),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "10s"),
            ("OTEL_METRIC_EXPORT_INTERVAL", "0"),
            ("OTEL_METRICS_EXPORTER", "prometheus"),
            ("OTEL_EXPORTER_OTLP_CERTIFICATE", "/etc/s3cret"),
        ] {
            let mut variables = vec![("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c")];
            variables.insert(0, (name, value));
            let error = plan(None, &variables).unwrap_err();
            assert!(error.contains(name) && !error.contains("s3cret") && error.contains(';') | error.contains("is no"), "{error}");
            assert_eq!(error.contains("grpc"), name.ends_with("PROTOCOL"), "{error}");
        }
    }
}
