//! Listings page by page.

use securanet_model::directory::Page;

use super::*;

/// All rows of a listing, `rows_max` at a time, each as the text that the next page begins behind.
fn pages(office: &Office, rows_max: u32, query: impl Fn(Page) -> DirectoryQuery) -> Vec<String> {
    let mut all: Vec<String> = Vec::new();
    loop {
        let page = Page { after: all.last().cloned(), rows_max };
        let rows: Vec<String> = match office.ask(query(page)) {
            DirectoryAnswer::Domains(rows) => rows.iter().map(|row| row.name.to_string()).collect(),
            DirectoryAnswer::Accounts(rows) => rows.iter().map(|row| row.address.canonical()).collect(),
            DirectoryAnswer::Aliases(rows) => rows.iter().map(|row| row.address.canonical()).collect(),
            DirectoryAnswer::Lists(rows) => rows.iter().map(|row| row.address.canonical()).collect(),
            other => panic!("{other:?}"),
        };
        assert!(rows.len() <= rows_max as usize);
        if rows.is_empty() {
            return all;
        }
        all.extend(rows);
    }
}

#[test]
fn every_row_comes_once_and_in_order_whatever_the_page() {
    let mut office = Office::new();
    for domain in ["b.example", "a.example"] {
        office.domain(domain);
        for local in ["zoe", "Ann", "bob"] {
            office.account(&format!("{local}@{domain}"));
            office.alias(&format!("{local}2@{domain}"), &format!("{local}@{domain}"));
            office.list(&format!("{local}3@{domain}"), &[&format!("{local}@{domain}")]);
        }
    }
    let of = |domain: &str, suffix: &str| ["ann", "bob", "zoe"].map(|local| format!("{local}{suffix}@{domain}"));
    let both = |suffix: &str| [of("a.example", suffix), of("b.example", suffix)].concat();
    for rows_max in [1, 2, 1000] {
        assert_eq!(pages(&office, rows_max, DirectoryQuery::Domains), ["a.example", "b.example", "example.org"]);
        assert_eq!(pages(&office, rows_max, |page| DirectoryQuery::Accounts(None, page)), both(""));
        assert_eq!(pages(&office, rows_max, DirectoryQuery::Aliases), both("2"));
        assert_eq!(pages(&office, rows_max, DirectoryQuery::Lists), both("3"));
        let own = |page| DirectoryQuery::Accounts(Some(name("b.example")), page);
        assert_eq!(pages(&office, rows_max, own), of("b.example", ""));
        let none = |page| DirectoryQuery::Accounts(Some(name("c.example")), page);
        assert_eq!(pages(&office, rows_max, none), [""; 0]);
    }
}

#[test]
fn a_page_goes_on_behind_a_row_that_is_gone() {
    let mut office = Office::new();
    office.account("ann@example.org");
    let bob = office.account("bob@example.org");
    office.account("carl@example.org");
    office.done(DirectoryCommand::DeleteAccount { account: bob.id });
    let page = Page { after: Some("BOB@example.org".to_owned()), rows_max: 10 };
    let DirectoryAnswer::Accounts(rows) = office.ask(DirectoryQuery::Accounts(None, page)) else { panic!("no page") };
    assert_eq!(rows.iter().map(|row| row.address.to_string()).collect::<Vec<_>>(), ["carl@example.org"]);
}

#[test]
fn a_page_request_out_of_bounds_is_brought_within() {
    let mut office = Office::new();
    office.account("ann@example.org");
    for rows_max in [0, u32::MAX] {
        let page = Page { after: None, rows_max };
        let DirectoryAnswer::Accounts(rows) = office.ask(DirectoryQuery::Accounts(None, page)) else {
            panic!("no page")
        };
        assert_eq!(rows.len(), 1);
    }
}
