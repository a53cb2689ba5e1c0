//! A token file into a roster: the array of `{id, token, scopes, …}`, or the same under `tokens`.
//! Reports every fault by entry id and never quotes a token, nor lets the JSON parser do so.

use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use hashbrown::HashSet;
use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use zeroize::Zeroizing;

use super::fault::Faults;
use super::modes;
use crate::credential::digest::TagKey;
use crate::principal::roles::Roles;
use crate::principal::roster::{Roster, Secret, Window};
use crate::request::rpc::Text;
use crate::scope::{Scope, ScopeSets, Universe};

/// Largest token file that is read unless the source says more: over 700,000 tokens of 64 characters, and under 100 MB.
pub const MAX_FILE: usize = 95 * 1024 * 1024;
/// Shortest token: 64 bits written in hexadecimal. Shorter ones can be guessed.
pub const MIN_TOKEN: usize = 16;
/// Longest id, tenant or role name; they travel in headers.
const MAX_NAME: usize = 256;

/// An entry as the file says it. Unknown keys are refused: a misspelt `expires_at` must not be an eternal token.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Said<'a> {
    #[serde(borrow, alias = "name")]
    id: Text<'a>,
    #[serde(borrow)]
    token: Option<Text<'a>>,
    #[serde(borrow)]
    token_sha256: Option<Text<'a>>,
    #[serde(borrow)]
    scopes: Option<Vec<Text<'a>>>,
    #[serde(borrow, rename = "description")]
    _description: Option<Text<'a>>,
    disabled: Option<bool>,
    #[serde(borrow)]
    not_before: Option<Text<'a>>,
    #[serde(borrow)]
    expires_at: Option<Text<'a>>,
    #[serde(borrow)]
    tenant: Option<Text<'a>>,
    #[serde(borrow)]
    roles: Option<Vec<Text<'a>>>,
    #[serde(borrow)]
    previous: Option<Vec<Previous<'a>>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Previous<'a> {
    #[serde(borrow)]
    token_sha256: Text<'a>,
    #[serde(borrow)]
    expires_at: Text<'a>,
}

/// What the file is read with.
#[derive(Debug)]
pub struct Context<'a> {
    pub key: TagKey,
    pub universe: &'a Universe,
    pub roles: &'a mut Roles,
    pub strict_modes: bool,
    pub max_size: usize,
}

/// Reads the file; `warnings` has what is not a fault.
pub fn read(path: &Path, context: Context<'_>, warnings: &mut Vec<String>) -> Result<Roster, Faults> {
    let mut faults = Faults::of(path);
    let bytes = match bytes_of(path, &context, warnings) {
        Ok(bytes) => bytes,
        Err(message) => {
            faults.whole(message);
            return Err(faults);
        }
    };
    parse(&bytes, context, faults)
}

fn bytes_of(path: &Path, context: &Context<'_>, warnings: &mut Vec<String>) -> Result<Zeroizing<Vec<u8>>, String> {
    let unreadable = |error: std::io::Error| format!("token file cannot be read: {error}; name a file that this process may read");
    let file = File::open(path).map_err(unreadable)?;
    let meta = file.metadata().map_err(unreadable)?;
    if meta.is_dir() {
        return Err("token file is a directory; name a file".into());
    }
    let too_large = || format!("token file is larger than {} bytes; raise `max_size` of its source if it is meant to be", context.max_size);
    if meta.len() > context.max_size as u64 {
        return Err(too_large());
    }
    if let Some(remedy) = modes::remedy(&meta) {
        let message = format!("token file can be read by other users; {remedy}");
        if context.strict_modes {
            return Err(message);
        }
        warnings.push(format!("{message} ({})", path.display()));
    }
    // Room for all of it at once, so that no half-grown copy is left behind unwiped.
    let mut bytes = Zeroizing::new(Vec::with_capacity(usize::try_from(meta.len()).unwrap_or_default() + 1));
    file.take(context.max_size as u64 + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() > context.max_size { Err(too_large()) } else { Ok(bytes) }
}

/// The roster of a token file's bytes.
pub fn parse(bytes: &[u8], context: Context<'_>, mut faults: Faults) -> Result<Roster, Faults> {
    let Context { key, universe, roles, .. } = context;
    // As many secrets as there can be, by the keys that begin like theirs.
    let expected = memchr::memmem::find_iter(bytes, b"\"token").count();
    let mut reader = Reader { roster: Roster::new(key, ScopeSets::new(universe.clone()), expected), roles, faults: faults.clone() };
    let mut ids = HashSet::with_capacity(expected);
    let mut count = 0;
    let whole = each(bytes, &mut |entry| {
        count += 1;
        reader.entry(&entry, count - 1);
        let Text(id) = entry.id;
        if let Some(id) = ids.replace(id) {
            reader.faults.whole(format!("entry {count} is a second `{}`; ids are unique", id.escape_debug()));
        }
    });
    if whole.is_err() {
        diagnose(bytes, &mut faults);
        return Err(faults);
    }
    if count == 0 {
        reader.faults.whole("token file has no entries; `scopegate token new` adds one");
    }
    if reader.roster.has_hashed() {
        reader.refuse_both_forms(bytes);
    }
    reader.faults.into_result().map(|()| reader.roster)
}

/// Gives every entry of the file to `take`, one at a time, so that a large file is never held in a second form.
fn each<'a>(bytes: &'a [u8], take: &mut dyn FnMut(Said<'a>)) -> Result<(), ()> {
    let mut reader = serde_json::Deserializer::from_str(str::from_utf8(bytes).map_err(|_| ())?);
    Entries { take, inside: false }.deserialize(&mut reader).and_then(|()| reader.end()).map_err(|_| ())
}

/// The list of entries, or the object around it.
struct Entries<'t, 'a> {
    take: &'t mut dyn FnMut(Said<'a>),
    inside: bool,
}

impl<'a> DeserializeSeed<'a> for Entries<'_, 'a> {
    type Value = ();

    fn deserialize<D: Deserializer<'a>>(self, deserializer: D) -> Result<(), D::Error> {
        if self.inside { deserializer.deserialize_seq(self) } else { deserializer.deserialize_any(self) }
    }
}

impl<'a> Visitor<'a> for Entries<'_, 'a> {
    type Value = ();

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a list of entries")
    }

    fn visit_seq<A: SeqAccess<'a>>(self, mut list: A) -> Result<(), A::Error> {
        while let Some(entry) = list.next_element()? {
            (self.take)(entry);
        }
        Ok(())
    }

    fn visit_map<A: MapAccess<'a>>(self, mut map: A) -> Result<(), A::Error> {
        let mut take = Some(self.take);
        while let Some(Text(key)) = map.next_key()? {
            match (&*key, take.take()) {
                ("tokens", Some(take)) => map.next_value_seed(Entries { take, inside: true })?,
                _ => return Err(A::Error::custom("another key than one `tokens`")),
            }
        }
        if take.is_some() { Err(A::Error::custom("no `tokens`")) } else { Ok(()) }
    }
}

struct Reader<'a> {
    roster: Roster,
    roles: &'a mut Roles,
    faults: Faults,
}

impl Reader<'_> {
    /// One token in both forms would be two principals. A second reading, for the files that have both.
    fn refuse_both_forms(&mut self, bytes: &[u8]) {
        let _ = each(bytes, &mut |entry| {
            if let Some(Text(token)) = &entry.token
                && self.roster.knows_sha256(token)
            {
                let id = entry.id.0.escape_debug();
                self.faults.whole(format!("entry `{id}` has the token of another entry's `token_sha256`; tokens are unique"));
            }
        });
    }

    fn entry(&mut self, said: &Said<'_>, index: usize) {
        let id = &*said.id.0;
        if id.is_empty() || id.len() > MAX_NAME || id.chars().any(char::is_control) {
            self.faults.whole(format!("entry {} has no usable id; an id is 1 to {MAX_NAME} bytes without control characters", index + 1));
            return;
        }
        let fault = |faults: &mut Faults, message: &str| faults.whole(format!("entry `{}` {message}", id.escape_debug()));
        let window = Window {
            not_before: said.not_before.as_ref().and_then(|text| self.instant(id, "not_before", text)),
            expires_at: said.expires_at.as_ref().and_then(|text| self.instant(id, "expires_at", text)),
            disabled: said.disabled.unwrap_or(false),
        };
        let assigned: Vec<String> = said.roles.iter().flatten().map(|role| role.0.to_string()).collect();
        for role in assigned.iter().filter(|role| !self.roles.knows(role)) {
            fault(&mut self.faults, &format!("has role `{}`, which is not defined; define it under `roles`", role.escape_debug()));
        }
        if said.scopes.as_ref().is_none_or(Vec::is_empty) && assigned.is_empty() {
            fault(&mut self.faults, "has no scopes and would reach nothing; name at least one");
        }
        let mut scopes = Vec::with_capacity(said.scopes.as_ref().map_or(0, Vec::len));
        for scope in said.scopes.iter().flatten() {
            match Scope::parse(&scope.0) {
                Ok(scope) => scopes.push(scope),
                Err(why) => fault(&mut self.faults, &format!("has scope `{}`, which {why}", scope.0.escape_debug())),
            }
        }
        let tenant = said.tenant.as_ref().map(|tenant| &*tenant.0);
        if tenant.is_some_and(|tenant| tenant.is_empty() || tenant.len() > MAX_NAME || tenant.chars().any(char::is_control)) {
            fault(&mut self.faults, &format!("has no usable tenant; a tenant is 1 to {MAX_NAME} bytes without control characters"));
        }
        let (role_set, granted) = self.roles.assign(assigned);
        let scopes = self.roster.sets().intern_with_roles(scopes, granted);
        let entry = self.roster.add(id, scopes, role_set, tenant);
        self.secret(entry, said, window);
        for previous in said.previous.iter().flatten() {
            let expires_at = self.instant(id, "previous.expires_at", &previous.expires_at);
            if let Some(digest) = self.digest(id, &previous.token_sha256) {
                self.add(entry, id, Secret::Sha256(&digest), Window { expires_at, ..window });
            }
        }
    }

    fn secret(&mut self, entry: u32, said: &Said<'_>, window: Window) {
        let id = &*said.id.0;
        match (&said.token, &said.token_sha256) {
            (Some(Text(token)), None) => match token_fault(token) {
                None => self.add(entry, id, Secret::Clear(token), window),
                Some(message) => self.faults.whole(format!("entry `{}` {message}", id.escape_debug())),
            },
            (None, Some(text)) => {
                if let Some(digest) = self.digest(id, text) {
                    self.add(entry, id, Secret::Sha256(&digest), window);
                }
            }
            (Some(_), Some(_)) => self.faults.whole(format!("entry `{}` has both `token` and `token_sha256`; keep one", id.escape_debug())),
            (None, None) => self.faults.whole(format!("entry `{}` has no token; set `token` or `token_sha256`", id.escape_debug())),
        }
    }

    fn add(&mut self, entry: u32, id: &str, secret: Secret<'_>, window: Window) {
        if let Err(owner) = self.roster.add_secret(entry, secret, window) {
            let message = format!("entry `{}` has the token of entry `{}`; tokens are unique", id.escape_debug(), owner.id.escape_debug());
            self.faults.whole(message);
        }
    }

    /// Seconds since 1970. A window that cannot be read is a fault, so that the entry never counts.
    fn instant(&mut self, id: &str, key: &str, text: &Text<'_>) -> Option<i64> {
        let parsed = text.0.parse::<jiff::Timestamp>().ok().map(jiff::Timestamp::as_second);
        if parsed.is_none() {
            self.faults.whole(format!("entry `{}` has a `{key}` that is no RFC 3339 instant, such as `2027-01-31T00:00:00Z`", id.escape_debug()));
        }
        parsed
    }

    fn digest(&mut self, id: &str, text: &Text<'_>) -> Option<[u8; 32]> {
        let digest = hex(&text.0);
        if digest.is_none() {
            let message = "has a `token_sha256` that is not 64 hexadecimal digits; `scopegate token hash` prints it";
            self.faults.whole(format!("entry `{}` {message}", id.escape_debug()));
        }
        digest
    }
}

fn hex(text: &str) -> Option<[u8; 32]> {
    let mut digest = [0; 32];
    (text.len() == 64).then_some(())?;
    for (byte, pair) in digest.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        let &[high, low] = pair else { return None };
        let digit = |byte: u8| char::from(byte).to_digit(16);
        *byte = u8::try_from(digit(high)? << 4 | digit(low)?).ok()?;
    }
    Some(digest)
}

/// Why a token could not be presented, or should not be.
pub fn token_fault(token: &str) -> Option<&'static str> {
    if token.chars().any(char::is_whitespace) {
        return Some("has white space in its token; remove it");
    }
    if token.contains(',') || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Some("has a token that a header cannot carry; a token is visible ASCII without commas");
    }
    if token.len() < MIN_TOKEN {
        return Some("has a token of under 16 characters; `scopegate token new` makes a strong one");
    }
    if token.len() > crate::credential::MAX_TOKEN {
        return Some("has a token of over 16 KiB, which no request can carry; make it shorter");
    }
    None
}

/// What keeps the bytes from being a token file, without a byte of them in a message.
fn diagnose(bytes: &[u8], faults: &mut Faults) {
    let before = faults.iter().count();
    if str::from_utf8(bytes).is_err() {
        return faults.whole("token file is not UTF-8; save it as UTF-8");
    }
    match serde_json::from_slice::<serde_json::Value>(bytes) {
        Err(error) if bytes.iter().all(u8::is_ascii_whitespace) || error.is_eof() && error.column() == 0 => {
            faults.whole("token file is empty; it is a JSON array of entries `{\"id\", \"token\", \"scopes\"}`");
        }
        Err(error) => {
            faults.at_place((error.line() as u64, error.column() as u64), "token file is not JSON from here on; mind commas and quotes");
        }
        Ok(value) => {
            let list = value.get("tokens").unwrap_or(&value);
            match list.as_array() {
                None => faults.whole("token file is no list; it is a JSON array of entries, or `{\"tokens\": […]}`"),
                Some(entries) => entries.iter().enumerate().for_each(|(index, entry)| diagnose_entry(index, entry, faults)),
            }
            for key in value.as_object().into_iter().flatten().map(|(key, _)| key).filter(|key| *key != "tokens") {
                faults.whole(format!("key `{}` is unknown; known is `tokens`", key.escape_debug()));
            }
        }
    }
    if faults.iter().count() == before {
        faults.whole("token file has a key twice in one entry, or a value of another type; compare it with `{\"id\", \"token\", \"scopes\"}`");
    }
}

fn diagnose_entry(index: usize, entry: &serde_json::Value, faults: &mut Faults) {
    let Some(object) = entry.as_object() else {
        return faults.whole(format!("entry {} is no object; an entry is `{{\"id\", \"token\", \"scopes\"}}`", index + 1));
    };
    let id = object.get("id").or_else(|| object.get("name")).and_then(serde_json::Value::as_str);
    let who = id.map_or_else(|| format!("entry {}", index + 1), |id| format!("entry `{}`", id.escape_debug()));
    if id.is_none() {
        faults.whole(format!("{who} has no `id`; give it one"));
    }
    for (key, value) in object {
        let texts = |value: &serde_json::Value| value.as_array().is_some_and(|list| list.iter().all(serde_json::Value::is_string));
        let (right, wanted) = match key.as_str() {
            "id" | "name" | "token" | "token_sha256" | "description" | "not_before" | "expires_at" | "tenant" => {
                (value.is_string() || value.is_null(), "a text")
            }
            "scopes" | "roles" => (texts(value) || value.is_null(), "a list of texts"),
            "disabled" => (value.is_boolean() || value.is_null(), "`true` or `false`"),
            "previous" => (
                value.is_null()
                    || value.as_array().is_some_and(|list| {
                        list.iter().all(|item| {
                            item.as_object().is_some_and(|item| {
                                item.len() == 2
                                    && ["token_sha256", "expires_at"].iter().all(|key| item.get(*key).is_some_and(serde_json::Value::is_string))
                            })
                        })
                    }),
                "a list of `{\"token_sha256\", \"expires_at\"}`",
            ),
            _ => (false, ""),
        };
        match (right, wanted) {
            (true, _) => {}
            (false, "") => faults.whole(format!("{who} has the unknown key `{}`; known are id, token, token_sha256, scopes, description, disabled, not_before, expires_at, tenant, roles, previous", key.escape_debug())),
            (false, wanted) => faults.whole(format!("{who}: `{key}` is {wanted}")),
        }
    }
}

/// A roster of the one token of development mode.
pub fn development(context: Context<'_>) -> Roster {
    let Context { key, universe, roles, .. } = context;
    let mut roster = Roster::new(key, ScopeSets::new(universe.clone()), 1);
    let (role_set, granted) = roles.assign(Vec::new());
    let scopes = roster.sets().intern_with_roles(Scope::parse("*").into_iter().collect(), granted);
    let entry = roster.add("dev", scopes, role_set, None);
    // A fresh roster holds no other secret to clash with.
    let _ = roster.add_secret(entry, Secret::Clear("dev-token"), Window::default());
    roster
}
