//! Passwords' verifiers, device passwords, and whose they are by login name.
//!
//! A login name is a main address or an alias that leads to exactly one account, without subaddress; a name
//! without `@` is a local part when the cluster has exactly one domain, and nobody's otherwise. A suspended
//! account's credentials are found (the gateway says why nobody gets in), a deleted one's are gone.

use securanet_kv::Direction;
use securanet_model::{
    AccountId, Address, AppPasswordId, UnixMillis,
    directory::{AppPassword, Credentials, DirectoryRefusal, DirectoryReply, Domain, Verifiers},
    record,
};
use serde::{Deserialize, Serialize};

use super::{Failure, Outcome, accounts, addresses, policies};
use crate::{
    EngineError,
    keys::{Key, Table},
    tx::{ReadView, Tx},
};

/// Device passwords of one account: each failed login is compared with all of them.
const APP_PASSWORDS_MAX: usize = 32;
/// Octets of a device password's label.
const LABEL_OCTETS_MAX: usize = 128;
/// Octets of a verifier in PHC string format; ours have about a hundred.
const PHC_OCTETS_MAX: usize = 512;
/// RFC 7677 wants at least 4096 iterations of SCRAM-SHA-256; ours is the stricter bound of the model.
const SCRAM_ITERATIONS_MIN: u32 = 15_000;

/// A row of [`Table::Credentials`].
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct CredentialsRow {
    password: Option<Verifiers>,
    app_passwords: Vec<AppPassword>,
    /// The number of the next device password; never given out twice.
    next_app_password: u32,
}

pub(super) fn create(tx: &mut Tx<'_>, id: AccountId, password: Option<&Verifiers>) -> Result<(), Failure> {
    password.map_or(Ok(()), check_verifiers)?;
    let row = CredentialsRow { password: password.cloned(), app_passwords: Vec::new(), next_app_password: 1 };
    store(tx, id, &row);
    Ok(())
}

pub(super) fn forget(tx: &mut Tx<'_>, id: AccountId) {
    let key = key(&tx.view(), id);
    tx.delete(key);
}

pub(super) fn set_password(tx: &mut Tx<'_>, id: AccountId, password: Option<&Verifiers>) -> Outcome {
    password.map_or(Ok(()), check_verifiers)?;
    accounts::raise_credential_version(tx, id)?;
    let mut row = get(&tx.view(), id)?;
    row.password = password.cloned();
    store(tx, id, &row);
    Ok(DirectoryReply::Done)
}

pub(super) fn add_app_password(
    tx: &mut Tx<'_>,
    clock: UnixMillis,
    id: AccountId,
    label: &str,
    verifiers: &Verifiers,
) -> Outcome {
    accounts::check_text("a label", label, LABEL_OCTETS_MAX)?;
    check_verifiers(verifiers)?;
    accounts::raise_credential_version(tx, id)?;
    let mut row = get(&tx.view(), id)?;
    if row.app_passwords.len() >= APP_PASSWORDS_MAX {
        let what = "app passwords of one account".to_owned();
        return Err(DirectoryRefusal::TooMany { what, limit: APP_PASSWORDS_MAX as u64 }.into());
    }
    let selector = selector(&verifiers.argon2id);
    if selector.is_some() && row.app_passwords.iter().any(|other| selector_of(other) == selector) {
        return Err(DirectoryRefusal::Exists("an app password with the same first letters".to_owned()).into());
    }
    let number = AppPasswordId::new(row.next_app_password);
    row.next_app_password += 1;
    let label = label.to_owned();
    row.app_passwords.push(AppPassword { id: number, label, created: clock, verifiers: verifiers.clone() });
    store(tx, id, &row);
    Ok(DirectoryReply::AppPassword(number))
}

pub(super) fn remove_app_password(tx: &mut Tx<'_>, id: AccountId, number: AppPasswordId) -> Outcome {
    accounts::raise_credential_version(tx, id)?;
    let mut row = get(&tx.view(), id)?;
    let before = row.app_passwords.len();
    row.app_passwords.retain(|password| password.id != number);
    if row.app_passwords.len() == before {
        return Err(DirectoryRefusal::NotFound(format!("app password {number} of account {id}")).into());
    }
    store(tx, id, &row);
    Ok(DirectoryReply::Done)
}

/// The credentials that a login name stands for.
pub(super) fn by_login(view: &ReadView<'_>, login: &str) -> Result<Option<Credentials>, EngineError> {
    let Some(address) = login_address(view, login)? else { return Ok(None) };
    let Some(row) = addresses::exact(view, &address)? else { return Ok(None) };
    let Some(account) = accounts::behind(view, &address, row)? else { return Ok(None) };
    let row = get(view, account.id)?;
    let allowed = policies::is_true(view, "account.app_passwords", &account)?;
    let app_passwords = if allowed { row.app_passwords } else { Vec::new() };
    Ok(Some(Credentials { account, password: row.password, app_passwords }))
}

fn login_address(view: &ReadView<'_>, login: &str) -> Result<Option<Address>, EngineError> {
    if login.contains('@') {
        return Ok(Address::parse(login).ok());
    }
    let rows = view.scan(&view.key(Table::Domain).range(), Direction::Forward, 2)?;
    let [(_, only)] = rows.as_slice() else { return Ok(None) };
    let domain: Domain = record::decode(only)?;
    Ok(Address::new(login, domain.name).ok())
}

fn check_verifiers(verifiers: &Verifiers) -> Result<(), DirectoryRefusal> {
    let refused = |what: &str| Err(DirectoryRefusal::Invalid(what.to_owned()));
    if !verifiers.argon2id.starts_with("$argon2id$") || verifiers.argon2id.len() > PHC_OCTETS_MAX {
        return refused("a password is kept as an argon2id verifier in PHC string format");
    }
    match &verifiers.scram {
        Some(scram) if scram.iterations < SCRAM_ITERATIONS_MIN => {
            refused("a SCRAM-SHA-256 verifier has at least 15000 iterations")
        }
        Some(scram) if !(16..=64).contains(&scram.salt.len()) => {
            refused("a SCRAM-SHA-256 verifier has 16 to 64 octets of salt")
        }
        _ => Ok(()),
    }
}

fn selector_of(password: &AppPassword) -> Option<[u8; 4]> {
    selector(&password.verifiers.argon2id)
}

/// What a login finds an app password by: the first twenty bits of its verifier's salt, as three letters of base64
/// and the upper two bits of the fourth. Of two with the same, one could never be used. None when there is no salt
/// of that length (PHC string format: it stands before the last `$`).
fn selector(phc: &str) -> Option<[u8; 4]> {
    let salt = phc.rsplit('$').nth(1)?.as_bytes();
    let [first, second, third, fourth, ..] = *salt else { return None };
    let upper_bits = match fourth {
        b'A'..=b'P' => 0,
        b'Q'..=b'Z' | b'a'..=b'f' => 1,
        b'g'..=b'v' => 2,
        b'w'..=b'z' | b'0'..=b'9' | b'+' | b'/' => 3,
        _ => return None,
    };
    Some([first, second, third, upper_bits])
}

fn get(view: &ReadView<'_>, id: AccountId) -> Result<CredentialsRow, EngineError> {
    let row = view.get_record(&key(view, id))?;
    row.ok_or_else(|| EngineError::Inconsistent(format!("account {id} has no credentials row")))
}

fn store(tx: &mut Tx<'_>, id: AccountId, row: &CredentialsRow) {
    let key = key(&tx.view(), id);
    tx.put_record(key, row);
}

fn key(view: &ReadView<'_>, id: AccountId) -> Key {
    view.key(Table::Credentials).u64(id.get())
}
