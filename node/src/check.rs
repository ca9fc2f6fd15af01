//! Values of `[delivery]` that are of the right type and can never work: each is refused with its path in the file, what is
//! wrong and what to do, before anything listens.
//!
//! What takes reading (certificates, trust anchors, the system's resolvers, how routes go together) is tried by
//! [`Delivery::check`]; the bounds of the worker are its own.

use std::{
    net::{IpAddr, SocketAddr},
    ops::RangeInclusive,
    time::Duration,
};

use securanet_delivery::{
    client::ClientSettings,
    dns::DnsSettings,
    route::{RouteSettings, RouterSettings},
    tls::policy::PolicySettings,
};
use securanet_gateway::model::DomainName;

use crate::delivery::Delivery;

/// Repeats of a question beyond these only make each failure slower.
const DNS_REPEATS: RangeInclusive<usize> = 0..=10;
/// Some 500 octets each: at most half a gibibyte.
const CACHE_ENTRIES: RangeInclusive<usize> = 1..=1_000_000;
/// A server has to answer within the time that a letter may wait for a name.
const DNS_TIMEOUT_MAX: Duration = Duration::from_secs(60);
const MESSAGES_PER_CONNECTION: RangeInclusive<u32> = 1..=1_000_000;

/// A value that cannot work.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Wrong {
    /// Its path below `delivery`.
    pub(crate) key: String,
    /// What is wrong.
    pub(crate) problem: String,
    /// What to do.
    pub(crate) remedy: String,
}

fn wrong(key: impl Into<String>, problem: impl Into<String>, remedy: &str) -> Wrong {
    Wrong { key: key.into(), problem: problem.into(), remedy: remedy.to_owned() }
}

type Checked = Result<(), Wrong>;

/// The first value that cannot work.
pub(crate) fn delivery(settings: &Delivery) -> Option<Wrong> {
    let parts = || {
        dns(&settings.dns)?;
        client(&settings.client)?;
        tls(&settings.tls)?;
        routing(&settings.routing)
    };
    let of_worker = |(key, problem, remedy): (&str, String, &str)| wrong(format!("worker.{key}"), problem, remedy);
    parts().err().or_else(|| settings.worker.wrong().map(of_worker))
}

fn dns(settings: &DnsSettings) -> Checked {
    for (at, server) in settings.servers.iter().enumerate() {
        let key = format!("dns.servers[{at}]");
        target(&key, *server, "write a resolver as \"192.0.2.53:53\"")?;
    }
    within("dns.repeats", settings.repeats, &DNS_REPEATS, "give 0 to 10 (default 1)")?;
    let remedy = "give 1 to 1000000 (default 20000)";
    within("dns.cache_entries_max", settings.cache_entries_max, &CACHE_ENTRIES, remedy)?;
    if settings.timeout > DNS_TIMEOUT_MAX {
        let problem = format!("{} is out of range", settings.timeout.as_secs_f64());
        return Err(wrong("dns.timeout_seconds", problem, "give at most 60 (default 5)"));
    }
    if settings.control_names.is_empty() {
        let remedy = "name one that always answers, or leave it out (default the root, \".\")";
        return Err(wrong("dns.control_names", "without one a dead resolver is taken for dead destinations", remedy));
    }
    Ok(())
}

fn client(settings: &ClientSettings) -> Checked {
    name("client.helo_name", &settings.helo_name)?;
    sources("client.source_addresses", &settings.source_addresses)?;
    let (count, remedy) = (settings.messages_per_connection_max, "give 1 to 1000000 (default 100)");
    within("client.messages_per_connection_max", count, &MESSAGES_PER_CONNECTION, remedy)
}

fn tls(settings: &PolicySettings) -> Checked {
    let remedy = "give 1 to 1000000 (default 10000), or say mta_sts = false";
    within("tls.mta_sts_domains_max", settings.mta_sts_domains_max, &CACHE_ENTRIES, remedy)
}

fn routing(settings: &RouterSettings) -> Checked {
    port("routing.port", Some(settings.port))?;
    for (at, own) in settings.self_names.iter().enumerate() {
        name(&format!("routing.self_names[{at}]"), own)?;
    }
    for (at, address) in settings.self_addresses.iter().enumerate() {
        if address.is_unspecified() || address.is_multicast() {
            let problem = format!("{address} is nobody's address");
            let remedy = "give the gateways' addresses as the world sees them";
            return Err(wrong(format!("routing.self_addresses[{at}]"), problem, remedy));
        }
    }
    settings.routes.iter().enumerate().try_for_each(|(at, of)| route(&format!("routing.routes[{at}]"), of))
}

fn route(path: &str, settings: &RouteSettings) -> Checked {
    port(&format!("{path}.port"), settings.port)?;
    for (at, sender) in settings.senders.iter().enumerate() {
        // A word without a dot is far more likely half an address than a domain of one label.
        if !sender.contains(['@', '.']) && sender != "<>" {
            let remedy = "write ann@example.org, example.org, .example.org (whatever is below it) or <> (reports)";
            return Err(wrong(
                format!("{path}.senders[{at}]"),
                format!("{sender:?} is no address and no domain"),
                remedy,
            ));
        }
    }
    for (key, texts) in [
        ("recipient_domains", &settings.recipient_domains),
        ("senders", &settings.senders),
        ("hosts", &settings.hosts),
        ("certificate_names", &settings.certificate_names),
    ] {
        if let Some(at) = texts.iter().position(|text| text.trim().is_empty()) {
            return Err(wrong(format!("{path}.{key}[{at}]"), "it is empty", "remove it, or say what is meant"));
        }
    }
    for (at, host) in settings.certificate_names.iter().enumerate() {
        name(&format!("{path}.certificate_names[{at}]"), host)?;
    }
    sources(&format!("{path}.source_addresses"), &settings.source_addresses)?;
    match &settings.login {
        Some(login) if login.user.is_empty() => Err(wrong(
            format!("{path}.login.user"),
            "it is empty",
            "give the user's name at the smarthost, or no login",
        )),
        Some(login) if login.password.is_empty() => {
            let remedy = "give the password at the smarthost, or no login";
            Err(wrong(format!("{path}.login.password"), "it is empty", remedy))
        }
        _ => Ok(()),
    }
}

fn within<T: PartialOrd + std::fmt::Display>(key: &str, value: T, range: &RangeInclusive<T>, remedy: &str) -> Checked {
    if range.contains(&value) { Ok(()) } else { Err(wrong(key, format!("{value} is out of range"), remedy)) }
}

fn port(key: &str, port: Option<u16>) -> Checked {
    match port {
        Some(0) => Err(wrong(key, "nobody listens on port 0", "give 1 to 65535 (default 25)")),
        _ => Ok(()),
    }
}

fn name(key: &str, text: &str) -> Checked {
    let remedy = "write a host name such as mail.example.org";
    DomainName::parse(text).map(drop).map_err(|_| wrong(key, format!("{text:?} is no host name"), remedy))
}

fn target(key: &str, server: SocketAddr, remedy: &str) -> Checked {
    let nobody = server.port() == 0 || server.ip().is_unspecified() || server.ip().is_multicast();
    if nobody { Err(wrong(key, format!("nobody answers at {server}"), remedy)) } else { Ok(()) }
}

fn sources(key: &str, addresses: &[IpAddr]) -> Checked {
    match addresses.iter().position(|address| address.is_unspecified() || address.is_multicast()) {
        Some(at) => {
            let problem = format!("nothing can be sent from {}", addresses[at]);
            Err(wrong(format!("{key}[{at}]"), problem, "give an address of this machine, or none: the system chooses"))
        }
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> Option<Wrong> {
        delivery(&toml::from_str(text).unwrap_or_else(|error| panic!("{text}: {error}")))
    }

    #[test]
    fn what_can_work_is_let_through() {
        for text in [
            "",
            "[routing]\nport = 2525\nself_addresses = [\"192.0.2.1\"]",
            "[dns]\nservers = [\"192.0.2.53:53\"]\nrepeats = 0",
            "[[routing.routes]]\nname = \"a\"\nhosts = [\"mx.test\"]\nsenders = [\"<>\", \"a@b.test\", \".b.test\", \"b.test\"]\n\
             login = { user = \"u\", password = \"p\" }",
        ] {
            assert_eq!(found(text), None, "{text}");
        }
    }

    #[test]
    fn what_cannot_work_names_its_place_and_its_remedy() {
        let route = |line: &str| format!("[[routing.routes]]\nname = \"a\"\nhosts = [\"mx.test\"]\n{line}");
        let cases = [
            ("[routing]\nport = 0".to_owned(), "routing.port", "give 1 to 65535"),
            ("[routing]\nself_names = [\"a b\"]".to_owned(), "routing.self_names[0]", "mail.example.org"),
            ("[routing]\nself_addresses = [\"0.0.0.0\"]".to_owned(), "routing.self_addresses[0]", "as the world sees"),
            (route("port = 0"), "routing.routes[0].port", "give 1 to 65535"),
            (route("senders = [\"a.test\", \"foo\"]"), "routing.routes[0].senders[1]", "write ann@example.org"),
            (route("recipient_domains = [\"\"]"), "routing.routes[0].recipient_domains[0]", "say what is meant"),
            (route("certificate_names = [\"a b\"]"), "routing.routes[0].certificate_names[0]", "mail.example.org"),
            (route("source_addresses = [\"::\"]"), "routing.routes[0].source_addresses[0]", "of this machine"),
            (route("login = { user = \"\", password = \"p\" }"), "routing.routes[0].login.user", "or no login"),
            (route("login = { user = \"u\", password = \"\" }"), "routing.routes[0].login.password", "or no login"),
            ("[dns]\nservers = [\"192.0.2.53:0\"]".to_owned(), "dns.servers[0]", "192.0.2.53:53"),
            ("[dns]\nservers = [\"0.0.0.0:53\"]".to_owned(), "dns.servers[0]", "192.0.2.53:53"),
            ("[dns]\nrepeats = 11".to_owned(), "dns.repeats", "give 0 to 10"),
            ("[dns]\ncache_entries_max = 0".to_owned(), "dns.cache_entries_max", "default 20000"),
            ("[dns]\ncache_entries_max = 1000001".to_owned(), "dns.cache_entries_max", "default 20000"),
            ("[dns]\ntimeout_seconds = 61".to_owned(), "dns.timeout_seconds", "at most 60"),
            ("[dns]\ncontrol_names = []".to_owned(), "dns.control_names", "default the root"),
            ("[client]\nhelo_name = \"\"".to_owned(), "client.helo_name", "mail.example.org"),
            (
                "[client]\nsource_addresses = [\"224.0.0.1\"]".to_owned(),
                "client.source_addresses[0]",
                "of this machine",
            ),
            (
                "[client]\nmessages_per_connection_max = 0".to_owned(),
                "client.messages_per_connection_max",
                "default 100",
            ),
            ("[tls]\nmta_sts_domains_max = 0".to_owned(), "tls.mta_sts_domains_max", "mta_sts = false"),
            ("[worker]\nconnections_max = 10001".to_owned(), "worker.connections_max", "give 1 to 10000"),
        ];
        for (text, key, remedy) in cases {
            let wrong = found(&text).unwrap_or_else(|| panic!("{text} is let through"));
            assert_eq!(wrong.key, key, "{text}");
            assert!(wrong.remedy.contains(remedy), "{text}: {wrong:?}");
        }
    }

    #[test]
    fn what_the_types_refuse_is_refused() {
        for text in [
            "[client.timeouts]\nconnect_seconds = 0",
            "[client.timeouts]\nfinal_dot_seconds = -1",
            "[client.timeouts]\nmail_seconds = 86401",
            "[dns]\ntimeout_seconds = 0.0",
            "[routing]\nport = 65536",
            "[routing]\nfamilies = \"ipv5\"",
            "[[routing.routes]]\nname = \"a\"\ntls = \"always\"",
            "[worker]\nconnections_max = -1",
        ] {
            assert!(toml::from_str::<Delivery>(text).is_err(), "{text}");
        }
    }
}
