//! Domains, aliases, lists and policies: what becomes of a request, and listings of any length.

use securanet_gateway::model::{
    AccountId,
    directory::{Alias, Cluster, DirectoryCommand, DirectoryRefusal, List},
    policy::{PolicyError, Scope},
    request::DomainUsage,
};

use super::*;

fn address(text: &str) -> Address {
    Address::parse(text).unwrap()
}

#[tokio::test]
async fn requests_become_commands() {
    let put = DirectoryCommand::PutListAnywhere(List {
        address: address("all@example.org"),
        owner: Some(address("ann@example.org")),
        members: vec![address("ann@example.org")],
    });
    let alias = Alias { address: address("info@example.org"), target: address("ann@example.org") };
    let policy = |scope, value: Option<&str>| DirectoryCommand::SetPolicy {
        key: "login.scram".to_owned(),
        scope,
        value: value.map(str::to_owned),
    };
    let name = DomainName::parse("example.org").unwrap();
    let update = |catch_all| DirectoryCommand::UpdateDomain { name: name.clone(), catch_all, quota: None };
    let domain = "/v1/domains/example.org";
    let cases = [
        (Method::PATCH, domain, json!({ "catch_all": "" }), update(Some(None))),
        (Method::PATCH, domain, json!({}), update(None)),
        (Method::PATCH, domain, json!({ "catch_all": "a@example.org" }), update(Some(Some(address("a@example.org"))))),
        (Method::DELETE, domain, Value::Null, DirectoryCommand::DeleteDomain { name: name.clone() }),
        (
            Method::POST,
            "/v1/aliases",
            json!({ "address": "info@example.org", "target": "ann@example.org" }),
            DirectoryCommand::CreateAliasAnywhere(alias),
        ),
        (
            Method::DELETE,
            "/v1/aliases/info@example.org",
            Value::Null,
            DirectoryCommand::DeleteAlias { address: address("info@example.org") },
        ),
        (
            Method::PUT,
            "/v1/lists/all@example.org",
            json!({ "members": ["ann@example.org"], "owner": "ann@example.org" }),
            put,
        ),
        (
            Method::DELETE,
            "/v1/lists/all@example.org",
            Value::Null,
            DirectoryCommand::DeleteList { address: address("all@example.org") },
        ),
        (Method::PUT, "/v1/policies/login.scram", json!({ "value": "false" }), policy(Scope::Cluster, Some("false"))),
        (
            Method::PUT,
            "/v1/policies/login.scram",
            json!({ "value": null, "domain": "example.org" }),
            policy(Scope::Domain(DomainId::new(3)), None),
        ),
        (
            Method::PUT,
            "/v1/policies/login.scram",
            json!({ "value": "true", "account": "ann@example.org" }),
            policy(Scope::Account(AccountId::new(7)), Some("true")),
        ),
    ];
    for (method, path, body, expected) in cases {
        let store = FakeStore::new().replying(|command| {
            let updated = || Reply::Directory(DirectoryReply::Domain(super::domain()));
            matches!(command, Command::Directory(DirectoryCommand::UpdateDomain { .. })).then(updated)
        });
        let api = api(store);
        let (status, answer) = api.json(method.clone(), path, body).await;
        assert!(status.is_success(), "{method} {path}: {status} {answer}");
        assert_eq!(api.commands(), [(GroupId::DIRECTORY, Command::Directory(expected))], "{method} {path}");
    }
}

#[tokio::test]
async fn refusals_of_the_directory_have_their_status() {
    let name = || DomainName::parse("example.net").unwrap();
    let cases = [
        (DirectoryRefusal::NotFound("alias x@example.org".to_owned()), 404, false),
        (DirectoryRefusal::Exists("x@example.org".to_owned()), 409, false),
        (DirectoryRefusal::NotInitialised, 503, true),
        (DirectoryRefusal::ForeignDomain(name()), 422, true),
        (DirectoryRefusal::NotEmpty { name: name(), addresses: 2 }, 409, true),
        (DirectoryRefusal::Outside(address("x@example.net")), 422, false),
        (DirectoryRefusal::Loop(address("x@example.org")), 422, false),
        (DirectoryRefusal::TooMany { what: "members".to_owned(), limit: 3 }, 422, false),
        (DirectoryRefusal::Policy(PolicyError::Unknown("x".to_owned())), 422, false),
        (DirectoryRefusal::Invalid("a display name is long".to_owned()), 422, false),
    ];
    for (refusal, expected, has_remedy) in cases {
        let reply = refusal.clone();
        let store = FakeStore::new().replying(move |_| Some(Reply::Directory(DirectoryReply::Refused(reply.clone()))));
        let answer = api(store).json(Method::DELETE, "/v1/aliases/x@example.org", Value::Null).await;
        let (status, error, remedy) = problem(&answer);
        assert_eq!((status, remedy.is_some()), (expected, has_remedy), "{error}");
    }
}

#[tokio::test]
async fn a_domain_is_shown_with_what_all_shards_hold_of_it() {
    let store = FakeStore::new().answering(|query| match query {
        Query::Directory(DirectoryQuery::Cluster) => {
            let cluster = Cluster { id: [0; 16], content_key: [0; 32], login_key: [0; 32], shards: 3 };
            Some(Answer::Directory(DirectoryAnswer::Cluster(Some(cluster))))
        }
        Query::DomainUsage => Some(Answer::DomainUsage(vec![
            DomainUsage { domain: DomainId::new(3), bytes: 10, messages: 1 },
            DomainUsage { domain: DomainId::new(4), bytes: 99, messages: 9 },
        ])),
        _ => None,
    });
    let (status, shown) = api(store).get("/v1/domains/EXAMPLE.org").await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!((&shown["used_bytes"], &shown["used_messages"]), (&json!(30), &json!(3)));
}

/// A store with this many aliases, of which a page has at most `page` although more were asked for.
fn aliases(count: usize, page: usize) -> FakeStore {
    FakeStore::new().answering(move |query| {
        let Query::Directory(DirectoryQuery::Aliases(asked)) = query else { return None };
        let name = |n: usize| format!("a{n:06}@example.org");
        let first = asked.after.as_ref().map_or(0, |after| after[1..7].parse::<usize>().unwrap() + 1);
        let rows = (first..count.min(first + page))
            .map(|n| Alias { address: address(&name(n)), target: address("ann@example.org") });
        Some(Answer::Directory(DirectoryAnswer::Aliases(rows.collect())))
    })
}

#[tokio::test]
async fn a_listing_goes_on_to_the_empty_page() {
    for (count, page) in [(0, 500), (1, 500), (500, 500), (1201, 500), (7, 3)] {
        let (status, rows) = api(aliases(count, page)).get("/v1/aliases").await;
        let rows = rows.as_array().unwrap();
        assert_eq!((status, rows.len()), (StatusCode::OK, count), "{count} in pages of {page}");
        if let Some(last) = rows.last() {
            assert_eq!(last["address"], format!("a{:06}@example.org", count - 1));
        }
    }
}

#[tokio::test]
async fn policies_are_shown_with_what_is_set_and_what_holds() {
    let store = FakeStore::new().answering(|query| match query {
        Query::Directory(DirectoryQuery::Policies) => {
            let set = vec![("login.scram".to_owned(), Scope::Domain(DomainId::new(3)), "false".to_owned())];
            Some(Answer::Directory(DirectoryAnswer::Policies(set)))
        }
        Query::Directory(DirectoryQuery::Policy(key, _)) => {
            let known = key == "login.scram";
            let holds = known.then(|| ("false".to_owned(), Some(Scope::Domain(DomainId::new(3)))));
            Some(Answer::Directory(DirectoryAnswer::Policy(holds)))
        }
        _ => None,
    });
    let api = api(store);
    let (_, rows) = api.get("/v1/policies").await;
    let scram = rows.as_array().unwrap().iter().find(|row| row["key"] == "login.scram").unwrap();
    assert_eq!(scram["values"], json!([{ "scope": "domain 3", "value": "false" }]));
    assert_eq!((&scram["default"], &scram["kind"]), (&json!("true"), &json!("true or false")));
    assert_eq!(scram["scopes"], json!(["cluster", "domain"]));
    let per_hour = rows.as_array().unwrap().iter().find(|row| row["key"] == "submission.messages_per_hour").unwrap();
    assert_eq!(
        (&per_hour["unit"], &per_hour["scopes"]),
        (&json!("messages"), &json!(["cluster", "domain", "account"]))
    );
    let (_, holds) = api.get("/v1/policies/login.scram?account=ann@example.org").await;
    assert_eq!(holds, json!({ "scope": "domain 3", "value": "false" }));
    assert_eq!(problem(&api.get("/v1/policies/none").await).0, 404);
    assert_eq!(problem(&api.get("/v1/policies/login.scram?account=a@b.c&domain=b.c").await).0, 422);
}
