//! The judge against the meaning of a rule, said once more over plain texts: it lets in exactly whom the rule lets in.

use std::collections::{BTreeMap, BTreeSet};

use scopegate::policy::judge::Question;
use scopegate::policy::pattern::Pattern;
use scopegate::policy::table::Table;
use scopegate::policy::{Access, Mode, Needs, Outcome, Policy, Reason, Rule, Tools};
use scopegate::principal::roles::{Definition, Roles};
use scopegate::principal::{Caller, Cause, Listed, Named, Proof, SourceId, Who};
use scopegate::request::{Body, RawRequest, RequestView};
use scopegate::scope::{Scope, ScopeSet, Universe};

use crate::random::{Random, check};

const SCOPES: [&str; 6] = ["a:read", "a:write", "b:read", "b:c:d", "admin:x", "lone"];
const HELD: [&str; 8] = ["a:read", "a:*", "b:read", "b:c:*", "*", "admin:x", "lone", "c:x"];
const ROLES: [&str; 3] = ["user", "editor", "owner"];
const TOOLS: [&str; 3] = ["run", "stop", "look"];
const NOW: i64 = 1_000_000;
const MAX_AGES: [u32; 2] = [1, 300];
const TENANTS: [Option<&str>; 3] = [None, Some("t1"), Some("t2")];

/// A rule in words.
#[derive(Clone, Debug)]
enum Meant {
    Public,
    Deny,
    Needs { all: Vec<&'static str>, any: Vec<&'static str>, roles: Vec<&'static str>, sources: Vec<usize>, tools: Option<Tooling>, mfa: Option<u32> },
}

type Tooling = (BTreeMap<&'static str, Vec<&'static str>>, usize);

fn few<T: Copy>(random: &mut Random, list: &[T]) -> Vec<T> {
    if random.once_in(2) { Vec::new() } else { (0..=random.below(2)).map(|_| random.pick(list)).collect() }
}

fn meant(random: &mut Random) -> Meant {
    match random.below(8) {
        0 => Meant::Public,
        1 => Meant::Deny,
        _ => {
            let tools = random.once_in(3).then(|| {
                let scopes = random.some_of(&TOOLS).into_iter().map(|tool| (tool, few(random, &SCOPES))).collect();
                (scopes, random.pick(&[60, 120, 1000]))
            });
            let mfa = random.once_in(3).then(|| random.pick(&MAX_AGES));
            let (all, any) = (few(random, &SCOPES), few(random, &SCOPES));
            Meant::Needs { all, any, roles: few(random, &ROLES), sources: few(random, &[0, 1]), tools, mfa }
        }
    }
}

fn compiled(name: &str, meant: &Meant, universe: &mut Universe) -> Rule {
    let mut ids = |list: &[&str]| list.iter().map(|text| universe.intern(Scope::parse(text).unwrap())).collect::<Box<[_]>>();
    let access = match meant {
        Meant::Public => Access::Public,
        Meant::Deny => Access::Deny,
        Meant::Needs { all, any, roles, sources, tools, mfa } => Access::Needs(Needs {
            mfa: *mfa,
            all: ids(all),
            any: ids(any),
            roles: roles.iter().map(|role| (*role).into()).collect(),
            credentials: sources.iter().map(|source| SourceId(*source)).collect(),
            tools: tools.as_ref().map(|(tools, max_body)| Tools {
                scopes: tools.iter().map(|(tool, scopes)| ((*tool).into(), ids(scopes))).collect(),
                max_body: *max_body,
            }),
        }),
    };
    Rule::new(name, access)
}

struct Asked {
    source: usize,
    held: Vec<&'static str>,
    roles: Vec<&'static str>,
    tenant: Option<&'static str>,
    said_tenants: Vec<&'static str>,
    extra: Vec<&'static str>,
    /// The tools that a body calls; `None` is a body that is no JSON-RPC.
    calls: Option<Vec<&'static str>>,
    shown: usize,
    /// When a second factor was shown.
    factor: Option<i64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    Allow,
    Deny,
    Inspect,
}

fn holds(held: &[&str], required: &str) -> bool {
    held.iter().any(|held| *held == required || *held == "*" || held.strip_suffix('*').is_some_and(|prefix| required.starts_with(prefix)))
}

/// Roles as defined below: an owner is an editor, an editor is a user.
fn has_role(assigned: &[&str], role: &str) -> bool {
    let rank = |role: &str| ROLES.iter().position(|known| *known == role).unwrap();
    assigned.iter().any(|own| rank(own) >= rank(role))
}

fn expected(meant: &Meant, asked: Option<&Asked>, (extra, body): (&[&str], &str)) -> Answer {
    let nothing = Meant::Needs { all: vec![], any: vec![], roles: vec![], sources: vec![], tools: None, mfa: None };
    let meant = match meant {
        Meant::Public if extra.is_empty() => return Answer::Allow,
        Meant::Public => &nothing,
        Meant::Deny | Meant::Needs { .. } => meant,
    };
    let (Meant::Needs { all, any, roles, sources, tools, mfa }, Some(asked)) = (meant, asked) else { return Answer::Deny };
    let tenant_fits = match (asked.tenant, asked.said_tenants.as_slice()) {
        (None, _) | (_, []) => true,
        (Some(own), [said]) => own == *said,
        (Some(_), _) => false,
    };
    let fits = all.iter().chain(extra).all(|scope| holds(&asked.held, scope))
        && (any.is_empty() || any.iter().any(|scope| holds(&asked.held, scope)))
        && (roles.is_empty() || roles.iter().any(|role| has_role(&asked.roles, role)))
        && (sources.is_empty() || sources.contains(&asked.source))
        && tenant_fits
        && mfa.is_none_or(|max_age| asked.factor.is_some_and(|at| NOW - at <= i64::from(max_age)));
    match (fits, tools) {
        (false, _) => Answer::Deny,
        (true, None) => Answer::Allow,
        (true, Some((tools, max_body))) => match (asked.shown, &asked.calls) {
            (0, _) => Answer::Inspect,
            (2, Some(calls)) if body.len() <= *max_body => {
                let granted = |tool: &&str| tools.get(*tool).is_some_and(|scopes| scopes.iter().all(|scope| holds(&asked.held, scope)));
                if calls.iter().all(granted) { Answer::Allow } else { Answer::Deny }
            }
            _ => Answer::Deny,
        },
    }
}

fn asked(random: &mut Random) -> Asked {
    Asked {
        source: random.below(2),
        held: few(random, &HELD),
        roles: few(random, &ROLES),
        tenant: random.pick(&TENANTS),
        said_tenants: few(random, &["t1", "t2", ""]),
        extra: if random.once_in(4) { few(random, &SCOPES) } else { Vec::new() },
        calls: (!random.once_in(6)).then(|| (0..=random.below(2)).map(|_| random.pick(&["run", "stop", "look", "Run", "unknown"])).collect()),
        shown: random.below(4).min(2),
        factor: random.pick(&[None, Some(NOW), Some(NOW + 60), Some(NOW - 1), Some(NOW - 2), Some(NOW - 300), Some(NOW - 301)]),
    }
}

fn body_of(asked: &Asked) -> String {
    let call = |tool: &&str| format!(r#"{{"method":"tools/call","params":{{"name":"{tool}"}}}}"#);
    match &asked.calls {
        None => r#"{"method":"tools/call"}"#.into(),
        Some(calls) => format!("[{}]", calls.iter().map(call).collect::<Vec<_>>().join(",")),
    }
}

fn roles() -> Roles {
    let below = |role: &str| match role {
        "owner" => vec!["editor".to_owned()],
        "editor" => vec!["user".to_owned()],
        _ => vec![],
    };
    Roles::new(&ROLES.iter().map(|role| ((*role).to_owned(), Definition { inherits: below(role), scopes: vec![] })).collect(), None).unwrap()
}

fn try_rule(random: &mut Random) {
    let (meant, default, asked) = (meant(random), meant(random), asked(random));
    let mut universe = Universe::default();
    let rule = compiled("/x", &meant, &mut universe);
    let default_rule = compiled("default", &default, &mut universe);
    let mut table = Table::default();
    table.insert(Pattern::parse("/x").unwrap()).unwrap();
    let scopes = ScopeSet::new(asked.held.iter().map(|text| Scope::parse(text).unwrap()).collect(), &universe);
    let mut all_roles = roles();
    let (set, _) = all_roles.assign(asked.roles.iter().map(|role| (*role).to_owned()).collect());
    let mut policy = Policy { table, rules: vec![rule], default: default_rule, universe, cors: None, watched: Box::default() };

    let said: Vec<(&str, &[u8])> = asked.said_tenants.iter().map(|tenant| ("X-Tenant-Id", tenant.as_bytes())).collect();
    let headers = said.as_slice();
    let named = random.once_in(2);
    let raw = RawRequest { method: b"POST", target: if named { b"/x" } else { b"/other" }, host: None, headers: &headers, link: Default::default() };
    let view = RequestView::read(&raw).unwrap();
    let body = body_of(&asked);
    let shown = [Body::Unread, Body::Partial, Body::Whole(body.as_bytes())][asked.shown];
    let question = Question { body: shown, extra_scopes: &asked.extra.join(" "), now: NOW, settled: &[] };
    let caller = Caller {
        source: SourceId(asked.source),
        credential: "source",
        place: None,
        who: Who::Listed(Listed {
            id: "id",
            scopes: &scopes,
            roles: all_roles.set(set).unwrap(),
            tenant: asked.tenant,
            restricted: false,
            until: None,
        }),
        factor: asked.factor,
    };
    let (proof, proved) = match random.below(10) {
        0 => (Proof::Nothing, None),
        1 => (Proof::Ambiguous, None),
        3 => (Proof::Unreachable, None),
        4 => (Proof::NoProfile, None),
        2 => (Proof::Refused { cause: random.pick(&[Cause::Unknown, Cause::Expired]), id: Some(Named::Listed("id")) }, None),
        _ => (Proof::Caller(caller), Some(&asked)),
    };
    let decision = policy.judge(&view, question, |_| proof.clone());
    let answer = match &decision.outcome {
        Outcome::Allow(_) => Answer::Allow,
        Outcome::Deny(_) => Answer::Deny,
        Outcome::Inspect { .. } => Answer::Inspect,
        Outcome::Wait(_) | Outcome::Preflight(_) => panic!("{:?}", decision.outcome),
    };
    let rule = if named { &meant } else { &default };
    assert_eq!(answer, expected(rule, proved, (&asked.extra, &body)), "{rule:?} for {:?} {:?}: {:?}", asked.held, asked.roles, decision.denial());
    if let Some(missing) = decision.denial().and_then(|denial| denial.missing.as_ref()) {
        let lacking: BTreeSet<_> = missing.scopes().split(' ').collect();
        assert!(!lacking.is_empty() && lacking.iter().all(|scope| !holds(&asked.held, scope)), "{missing:?} of {:?}", asked.held);
        assert_eq!(decision.denial().map(|denial| denial.reason), Some(Reason::InsufficientScope));
    }
    assert_eq!(decision.shadow, None, "nothing is in shadow");
    let (denial, caller) = (decision.denial().cloned(), decision.caller.as_ref().map(|caller| caller.source));
    let mut in_shadow = || if random.once_in(2) { Mode::Shadow } else { Mode::Enforce };
    let (route, default) = (in_shadow(), in_shadow());
    policy.rules[0].mode = route;
    policy.default.mode = default;
    policy.watched = random.some_of(&[SourceId(0), SourceId(1)]).into();
    let mode = if named { route } else { default };
    let spared = denial.as_ref().is_some_and(|denial| is_spared(denial.reason, mode, caller.is_some_and(|source| policy.watched.contains(&source))));
    let again = policy.judge(&view, question, |_| proof);
    assert_eq!(again.caller.as_ref().map(|caller| caller.source), caller, "nobody becomes somebody");
    match &again.outcome {
        Outcome::Allow(_) if spared => assert_eq!(again.shadow, denial),
        Outcome::Allow(_) => assert_eq!((answer, &again.shadow), (Answer::Allow, &None), "{denial:?} in {mode:?}"),
        Outcome::Inspect { .. } => assert_eq!((answer, &again.shadow), (Answer::Inspect, &None)),
        Outcome::Deny(said) => assert_eq!((Some(said), &again.shadow, spared), (denial.as_ref(), &None, false)),
        Outcome::Wait(_) | Outcome::Preflight(_) => panic!("{:?}", again.outcome),
    }
}

/// What passes in shadow, by what it means: all that policy denies on a route in shadow, and of a caller of a source in shadow what it may not do.
fn is_spared(reason: Reason, route: Mode, source: bool) -> bool {
    let status = reason.status();
    let by_route = matches!(status, 401 | 403 | 404 | 429) || [Reason::Unavailable, Reason::PartialBody].contains(&reason);
    (route == Mode::Shadow && by_route) || (source && (matches!(status, 403 | 429) || reason == Reason::StepUp))
}

/// In shadow, it lets in whom the rule lets in and whomever shadow spares, and tells of these what it would have said to them.
#[test]
fn the_judge_lets_in_exactly_whom_the_rule_lets_in() {
    check(200_000, try_rule);
}
