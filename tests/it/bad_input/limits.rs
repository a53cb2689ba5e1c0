//! Rates and the place where they are counted, as an operator can get them wrong.

use super::{Case, GOOD, PLANTED, ROUTES, faults_of, one};

#[test]
fn a_rate_that_is_none_is_named_with_what_would_be_right() {
    for (limit, said) in [
        ("10", "`routes.GET /y.rate_limit` is `10`; it is a text (quote it if it looks like a number) or a mapping with `rate`"),
        ("{rate: 10}", "`routes.GET /y.rate_limit.rate` is `10`; it is a text"),
        ("[10/m]", "`routes.GET /y.rate_limit` is a list; it is a text"),
        ("0/s", "route `GET /y`: `rate_limit` is `0/s`; the number of a rate is from 1 to 1000000 (scopegate.yaml:3:"),
        ("1000001/s", "the number of a rate is from 1 to 1000000"),
        ("10/w", "`rate_limit` is `10/w`; a rate is a number and `/s`, `/m`, `/h` or `/d`, such as `10/m`"),
        ("-1/s", "a rate is a number and `/s`"),
        ("{}", "`rate_limit` has no `rate`; it is a number and a unit such as `10/m`"),
        ("{rate: 10/m, burst: 0}", "`routes.GET /y.rate_limit.burst` is `0`; it is a whole number from 1"),
        ("{rate: 10/m, burst: 1000001}", "`rate_limit` is `1000001`; a burst is from 1 to 1000000"),
        ("{rate: 1/d, burst: 31}", "`rate_limit` is `1/d`; its burst would take more than 30 days to come back"),
        ("{rate: 10/m, per: user}", "`routes.GET /y.rate_limit.per` is `user`; it is `principal` or `tenant` or `ip` or `route`"),
        ("{rate: 10/m, each: ip}", "key `routes.GET /y.rate_limit.each` is unknown; known are `rate`, `burst`, `per`"),
    ] {
        let config = format!("{}  GET /y: {{scopes: [app:use], rate_limit: {limit}}}\n", ROUTES.replace("routes: {GET /x: app:use}\n", "routes:\n"));
        one(&faults_of(&config), said);
    }
}

#[test]
fn nobody_is_counted_by_what_a_public_route_does_not_ask_for() {
    let of = |route: &str| faults_of(&format!("{}  GET /y: {route}\n", ROUTES.replace("routes: {GET /x: app:use}\n", "routes:\n")));
    for (route, said) in [
        ("{public: true, rate_limit: 1/s}", "route `GET /y` is public, so that no request has a principal; its `rate_limit.per` is `ip` or `route`"),
        ("{public: true, rate_limit: {rate: 1/s, per: tenant}}", "no request has a tenant"),
        ("{public: true, scopes: [a:b]}", "route `GET /y` is public, so that `scopes` would not be looked at; remove one of them"),
        ("{public: true, authenticated: true}", "`authenticated` would not be looked at"),
        ("{public: true, mfa: {}}", "`mfa` would not be looked at"),
        ("{public: false}", "route `GET /y`: `public: false` would say nothing; remove it"),
        ("{rate_limit: 1/s}", "route `GET /y` needs nothing; add `scopes`"),
    ] {
        one(&of(route), said);
    }
    let default = faults_of(&format!("{ROUTES}default: {{public: true, rate_limit: {{rate: 1/s, per: ip}}}}\n"));
    one(&default, "`default: public` would let everything in that no route names");
}

#[test]
fn a_backend_is_an_address_of_redis_and_never_quoted() {
    for (limits, said) in [
        ("{backend: disk}", "`limits.backend` is no address of a Redis; it is `memory`, `redis://"),
        ("{backend: 'http://:planted-token-0123456789@host'}", "`limits.backend` is no address of a Redis"),
        ("{backend: 'rediss://:planted-token-0123456789@host/#insecure'}", "without `?` and `#`"),
        ("{backend: 'planted-token-0123456789'}", "`limits.backend` is no address of a Redis"),
        ("'redis://:planted-token-0123456789@host'", "`limits` is a URL with a user in it; it is a mapping with `backend`"),
        ("{backend: memory, backend_file: x}", "`limits` has both `backend` and `backend_file`; keep one"),
        ("{backend_file: none.url}", "`limits.backend_file` cannot be read: No such file"),
        ("{backend_file: tokens.json}", "`limits.backend` is no address of a Redis"),
        ("{timeout: 0s}", "`limits.timeout` is `0s`; it is from `1ms` to `10s`"),
        ("{timeout: 11s}", "`limits.timeout` is `11s`"),
        ("{timeout: 50}", "`limits.timeout` is `50`; it is a duration"),
    ] {
        one(&faults_of(&format!("{ROUTES}limits: {limits}\n")), said);
    }
    let case = Case::new(&format!("{ROUTES}limits: {{backend: 'redis://:${{SECRET}}@127.0.0.1/2'}}\n"), GOOD);
    let settings = format!("{:?}", case.load().unwrap().settings);
    assert!(settings.contains("Redis(…)") && !settings.contains(PLANTED), "{settings}");
}
