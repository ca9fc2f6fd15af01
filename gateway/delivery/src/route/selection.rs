//! Which of a domain's mail hosts are used, and in which order.

use std::{cmp::Reverse, collections::HashSet, net::IpAddr};

use ipnet::IpNet;
use securanet_gateway::model::{DomainName, HostLiteral};

use super::{
    HOPS_MAX, RouteFailure,
    address::{self, Reach},
    settings::{Families, RouterSettings},
};
use crate::{dns::MailHost, settings::SettingsError};

/// The rule by which hosts are chosen.
pub(super) struct Selection {
    pub(super) families: Families,
    self_names: HashSet<String>,
    self_addresses: HashSet<IpAddr>,
    private_targets: bool,
    allowed_networks: Vec<IpNet>,
    refused_networks: Vec<IpNet>,
}

impl Selection {
    pub(super) fn new(settings: &RouterSettings) -> Result<Self, SettingsError> {
        let name = |name: &String| match DomainName::parse(name) {
            Ok(name) => Ok(name.as_str().to_owned()),
            Err(_) => Err(SettingsError::Name { key: "self_names", name: name.clone() }),
        };
        Ok(Self {
            families: settings.families,
            self_names: settings.self_names.iter().map(name).collect::<Result<_, _>>()?,
            self_addresses: settings.self_addresses.iter().copied().map(address::bare).collect(),
            private_targets: settings.private_targets,
            allowed_networks: settings.allowed_networks.clone(),
            refused_networks: settings.refused_networks.clone(),
        })
    }

    /// The hosts of a domain that are used: those preferred to ourselves (RFC 5321 5.1), by preference and at random
    /// among equals, each with the addresses that mail may be carried to.
    pub(super) fn select(&self, domain: &str, hosts: Vec<MailHost>) -> Result<Vec<MailHost>, RouteFailure> {
        self.select_by(domain, hosts, random())
    }

    fn select_by(&self, domain: &str, mut hosts: Vec<MailHost>, mut seed: u64) -> Result<Vec<MailHost>, RouteFailure> {
        let ours = hosts.iter().filter(|host| self.is_ours(host)).map(|host| host.preference).min();
        if let Some(ours) = ours {
            hosts.retain(|host| host.preference < ours);
            if hosts.is_empty() {
                return Err(RouteFailure::LoopsBack(domain.to_owned()));
            }
        }
        for host in &mut hosts {
            host.addresses.addresses.retain(|address| self.families.has(*address) && self.may_reach(*address));
        }
        hosts.retain(|host| !host.addresses.addresses.is_empty());
        if hosts.is_empty() {
            return Err(RouteFailure::NoUsableAddress(domain.to_owned()));
        }
        hosts.sort_by_cached_key(|host| (host.preference, Reverse(next(&mut seed))));
        hosts.truncate(HOPS_MAX);
        Ok(hosts)
    }

    fn is_ours(&self, host: &MailHost) -> bool {
        let addresses = &host.addresses.addresses;
        self.self_names.contains(&host.name)
            || self.self_names.contains(&host.addresses.canonical)
            || addresses.iter().any(|address| self.self_addresses.contains(&address::bare(*address)))
    }

    /// Whether mail may be carried to a host without a name. One that a route names is the operator's word, as far as
    /// the protocol is used at all.
    pub(super) fn admit(&self, host: HostLiteral, is_named: bool) -> Result<(), RouteFailure> {
        let target = address::bare(host.ip());
        let barred = |why: &str| Err(RouteFailure::Barred { host: host.to_string(), why: why.to_owned() });
        if !self.families.has(target) {
            return barred(if target.is_ipv4() { "IPv4 is not used here" } else { "IPv6 is not used here" });
        }
        if is_named {
            return Ok(());
        }
        if self.self_addresses.contains(&target) {
            return Err(RouteFailure::LoopsBack(host.to_string()));
        }
        if self.may_reach(target) {
            return Ok(());
        }
        barred(match address::reach(target) {
            Reach::World => "the administrator has excluded its network",
            Reach::Private => "its address is of a private network",
            Reach::Never => "no mail server in the world can have its address",
        })
    }

    /// Whether mail, or anything else that the DNS alone asks for, may be carried to an address.
    pub(super) fn may_reach(&self, target: IpAddr) -> bool {
        let target = address::bare(target);
        let within = |networks: &[IpNet]| networks.iter().any(|network| network.contains(&target));
        if within(&self.refused_networks) {
            return false;
        }
        within(&self.allowed_networks)
            || match address::reach(target) {
                Reach::World => true,
                Reach::Private => self.private_targets,
                Reach::Never => false,
            }
    }
}

/// Equal hosts share the load only if each of us orders them otherwise each time.
fn random() -> u64 {
    let mut seed = [0; 8];
    // Without randomness they are ordered always the same, which is still an order.
    let _ = aws_lc_rs::rand::fill(&mut seed);
    u64::from_ne_bytes(seed)
}

/// SplitMix64.
const fn next(seed: &mut u64) -> u64 {
    *seed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mixed = (*seed ^ (*seed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dns::HostAddresses;

    fn host(preference: u16, name: &str, addresses: &[&str]) -> MailHost {
        let addresses = addresses.iter().map(|address| address.parse().unwrap()).collect();
        let addresses = HostAddresses { addresses, secure: false, are_bogus: false, canonical: name.to_owned() };
        MailHost { preference, name: name.to_owned(), addresses }
    }

    fn selection(change: impl FnOnce(&mut RouterSettings)) -> Selection {
        let mut settings = RouterSettings::default();
        change(&mut settings);
        Selection::new(&settings).unwrap()
    }

    fn names(chosen: Result<Vec<MailHost>, RouteFailure>) -> Result<Vec<String>, RouteFailure> {
        chosen.map(|hosts| hosts.into_iter().map(|host| host.name).collect())
    }

    #[test]
    fn rfc_5321_5_1_hosts_are_tried_by_preference_and_equal_ones_in_any_order() {
        let hosts = vec![
            host(20, "c.test", &["192.0.2.3"]),
            host(10, "a.test", &["192.0.2.1"]),
            host(10, "b.test", &["192.0.2.2"]),
        ];
        let orders: HashSet<_> =
            (0..64).map(|seed| names(selection(|_| {}).select_by("test", hosts.clone(), seed)).unwrap()).collect();
        let expected = [["a.test", "b.test", "c.test"], ["b.test", "a.test", "c.test"]];
        assert_eq!(orders, expected.map(|order| order.map(str::to_owned).to_vec()).into());
    }

    #[test]
    fn rfc_5321_5_1_no_host_that_is_not_preferred_to_ourselves_is_used() {
        let by_name = |s: &mut RouterSettings| s.self_names = vec!["US.test".to_owned()];
        let by_address = |s: &mut RouterSettings| s.self_addresses = vec!["::ffff:192.0.2.9".parse().unwrap()];
        let hosts = vec![
            host(5, "first.test", &["192.0.2.1"]),
            host(10, "equal.test", &["192.0.2.2"]),
            host(10, "us.test", &["192.0.2.9"]),
            host(20, "last.test", &["192.0.2.3"]),
        ];
        for selection in [selection(by_name), selection(by_address)] {
            assert_eq!(names(selection.select("test", hosts.clone())), Ok(vec!["first.test".to_owned()]));
            let ours_first = hosts[1..].to_vec();
            let failure = selection.select("test", ours_first).unwrap_err();
            assert_eq!(
                (failure.outcome(), failure.status()),
                (securanet_gateway::model::outbound::Outcome::Permanent, (5, 4, 6))
            );
        }
    }

    #[test]
    fn a_preferred_host_that_the_dns_cannot_tell_now_does_not_make_us_the_best() {
        let hosts = vec![host(10, "failing.test", &[]), host(20, "us.test", &["192.0.2.9"])];
        let selection = selection(|s| s.self_names = vec!["us.test".to_owned()]);
        let failure = selection.select("test", hosts).unwrap_err();
        assert_eq!(failure.outcome(), securanet_gateway::model::outbound::Outcome::TemporaryDns);
        let hosts = vec![host(10, "us.test", &[]), host(20, "last.test", &["192.0.2.1"])];
        assert_eq!(selection.select("test", hosts), Err(RouteFailure::LoopsBack("test".to_owned())));
    }

    #[test]
    fn ourselves_behind_an_alias_are_ourselves() {
        let mut alias = host(10, "mx.customer.test", &["192.0.2.1"]);
        alias.addresses.canonical = "us.test".to_owned();
        let selection = selection(|s| s.self_names = vec!["us.test".to_owned()]);
        assert_eq!(
            selection.select("customer.test", vec![alias]),
            Err(RouteFailure::LoopsBack("customer.test".to_owned()))
        );
    }

    #[test]
    fn addresses_that_no_mail_host_has_are_left_out() {
        let hosts = vec![
            host(10, "trap.test", &["127.0.0.1", "::1", "0.0.0.0", "169.254.169.254", "224.0.0.1", "fe80::1"]),
            host(20, "inside.test", &["10.0.0.1", "fd00::1"]),
        ];
        let strict = selection(|_| {});
        assert_eq!(strict.select("test", hosts.clone()), Err(RouteFailure::NoUsableAddress("test".to_owned())));
        let private = selection(|s| s.private_targets = true);
        assert_eq!(names(private.select("test", hosts.clone())), Ok(vec!["inside.test".to_owned()]));
        let mut allowed = selection(|s| s.allowed_networks = vec!["127.0.0.0/8".parse().unwrap()])
            .select("test", hosts.clone())
            .unwrap();
        assert_eq!(allowed.remove(0).addresses.addresses, ["127.0.0.1".parse::<IpAddr>().unwrap()]);
        let refused = selection(|s| {
            s.private_targets = true;
            s.refused_networks = vec!["10.0.0.0/8".parse().unwrap()];
        });
        let left = refused.select("test", hosts).unwrap();
        assert_eq!(left[0].addresses.addresses, ["fd00::1".parse::<IpAddr>().unwrap()]);
    }

    #[test]
    fn one_family_alone_is_used_where_the_operator_says_so() {
        let hosts = vec![host(10, "a.test", &["2001:db8::1", "192.0.2.1"]), host(20, "b.test", &["2001:db8::2"])];
        let four = selection(|s| s.families = Families::Ipv4).select("test", hosts).unwrap();
        assert_eq!(four.len(), 1);
        assert_eq!(four[0].addresses.addresses, ["192.0.2.1".parse::<IpAddr>().unwrap()]);
    }
}
