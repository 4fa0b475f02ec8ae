//! Rules, as data.

use super::*;
use crate::{
    Exchange, Principal,
    client_addr::{ClientAddr, PeerAddr},
    rejection::Kind,
};
use Effect::{Allow, Deny, Undecided};
use http::{HeaderName, Method, Request, request::Builder};
use proptest::prelude::*;
use std::{
    net::IpAddr,
    sync::Arc,
    time::{Duration, SystemTime},
};

fn alice() -> Principal {
    Principal::new("alice")
        .with_team("red")
        .with_tenant("acme")
        .with_scopes(["chat", "files"])
        .with_roles(["analyst"])
        .with_attribute("level", ["gold", "early"])
}

fn get() -> Builder {
    let client: IpAddr = [203, 0, 113, 7].into();
    Request::get("/reports/7")
        .extension(alice())
        .extension(ClientAddr(client))
}

fn noon() -> SystemTime {
    // A Thursday.
    SystemTime::UNIX_EPOCH + Duration::from_secs(12 * 60 * 60)
}

fn decide(policy: &Policy, request: Builder) -> Effect {
    let request = request.body(()).unwrap();
    let asked = request.ask().with_route(Some("/reports/{id}".into()));
    policy.decide(&asked.with_now(noon())).effect
}

/// What a rule does where it is the only one, and where everything else is allowed: `true` if it applies.
fn does(rule: fn(Rule) -> Rule, request: impl Fn() -> Builder) -> (bool, bool) {
    let allows = Policy::new().rule(rule(Rule::allow("it")));
    let denies = Policy::new()
        .rule(Rule::allow("all"))
        .rule(rule(Rule::deny("it")));
    (
        decide(&allows, request()) == Allow,
        decide(&denies, request()) == Deny,
    )
}

const APPLIES: (bool, bool) = (true, true);
const DOES_NOT: (bool, bool) = (false, false);
/// It allows nobody, and denies everybody.
const UNKNOWN: (bool, bool) = (false, true);

fn x(name: &'static str) -> HeaderName {
    HeaderName::from_static(name)
}

#[test]
fn without_rules_nobody_may_do_anything() {
    assert_eq!(decide(&Policy::new(), get()), Deny);
    assert_eq!(
        decide(&Policy::new().rule(Rule::deny("x").roles(["y"])), get()),
        Deny
    );
    assert_eq!(does(|rule| rule, get), APPLIES, "no condition is for all");
}

#[test]
fn each_condition_holds_for_what_it_names() {
    type Row = (fn(Rule) -> Rule, (bool, bool));
    let rows: &[Row] = &[
        (|rule| rule.roles(["admin", "analyst"]), APPLIES),
        (|rule| rule.roles(["admin"]), DOES_NOT),
        (|rule| rule.roles([""; 0]), DOES_NOT),
        (|rule| rule.all_scopes(["chat", "files"]), APPLIES),
        (|rule| rule.all_scopes(["chat", "keys"]), DOES_NOT),
        (|rule| rule.all_scopes([""; 0]), DOES_NOT),
        (|rule| rule.any_scope(["keys", "chat"]), APPLIES),
        (|rule| rule.any_scope(["keys"]), DOES_NOT),
        (|rule| rule.principals(["alice"]), APPLIES),
        (|rule| rule.principals(["Alice"]), DOES_NOT),
        (|rule| rule.teams(["blue", "red"]), APPLIES),
        (|rule| rule.teams(["blue"]), DOES_NOT),
        (|rule| rule.tenants(["acme"]), APPLIES),
        (|rule| rule.tenants(["other"]), DOES_NOT),
        (|rule| rule.attribute("level", ["gold"]), APPLIES),
        (|rule| rule.attribute("level", ["silver", "early"]), APPLIES),
        (|rule| rule.attribute("level", ["silver"]), DOES_NOT),
        (|rule| rule.attribute("region", ["eu"]), UNKNOWN),
        (|rule| rule.methods([Method::GET]), APPLIES),
        (|rule| rule.methods([Method::HEAD]), DOES_NOT),
        (|rule| rule.methods([Method::POST]), DOES_NOT),
        (|rule| rule.routes(["/reports/{id}"]), APPLIES),
        (|rule| rule.routes(["/reports/*"]), APPLIES),
        (|rule| rule.routes(["/reports/7"]), DOES_NOT),
        (|rule| rule.models(["*"]), APPLIES),
        (|rule| rule.models(["fast"]), UNKNOWN),
        (|rule| rule.clients(["203.0.113.0/24"]).unwrap(), APPLIES),
        (|rule| rule.clients(["203.0.113.7"]).unwrap(), APPLIES),
        (
            |rule| rule.clients(["10.0.0.0/8", "::/0"]).unwrap(),
            DOES_NOT,
        ),
        (
            |rule| rule.time([Window::utc("Thu 12:00-12:01").unwrap()]),
            APPLIES,
        ),
        (
            |rule| rule.time([Window::utc("Fri").unwrap(), Window::utc("Thu").unwrap()]),
            APPLIES,
        ),
        (|rule| rule.time([Window::utc("Sat").unwrap()]), DOES_NOT),
        (
            |rule| rule.when(|asked| Some(asked.path()?.len() > 3)),
            APPLIES,
        ),
        (|rule| rule.when(|_| Some(false)), DOES_NOT),
        (|rule| rule.when(|_| None), UNKNOWN),
        (|rule| rule.when_model(|_, _| Some(true)), UNKNOWN),
        // All conditions of a rule, and none that cannot be evaluated.
        (|rule| rule.roles(["analyst"]).teams(["red"]), APPLIES),
        (|rule| rule.roles(["analyst"]).teams(["blue"]), DOES_NOT),
        (|rule| rule.roles(["analyst"]).roles(["admin"]), DOES_NOT),
        (|rule| rule.roles(["analyst"]).when(|_| None), UNKNOWN),
        (|rule| rule.roles(["admin"]).when(|_| None), DOES_NOT),
        (|rule| rule.when(|_| None).roles(["admin"]), DOES_NOT),
    ];
    for (nth, (rule, expected)) in rows.iter().enumerate() {
        assert_eq!(
            does(*rule, get),
            *expected,
            "row {nth}: {:?}",
            rule(Rule::allow("it"))
        );
    }
}

#[test]
fn what_is_not_known_allows_nobody_and_denies_everybody() {
    let nobody = || Request::get("/reports/7");
    for rule in [
        (|rule| rule.roles(["analyst"])) as fn(Rule) -> Rule,
        |rule| rule.all_scopes(["chat"]),
        |rule| rule.any_scope(["chat"]),
        |rule| rule.principals(["alice"]),
        |rule| rule.teams(["red"]),
        |rule| rule.tenants(["acme"]),
        |rule| rule.attribute("level", ["gold"]),
        |rule| rule.clients(["0.0.0.0/0"]).unwrap(),
    ] {
        assert_eq!(does(rule, nobody), UNKNOWN, "{:?}", rule(Rule::allow("it")));
    }
    let plain = || Request::get("/reports/7").extension(Principal::new("bob"));
    assert_eq!(does(|rule| rule.teams(["red"]), plain), DOES_NOT);
    assert_eq!(
        does(|rule| rule.attribute("level", ["gold"]), plain),
        UNKNOWN
    );
    let peer = PeerAddr(([203, 0, 113, 7], 80).into());
    let peer = || Request::get("/reports/7").extension(peer);
    let ours = |rule: Rule| rule.clients(["203.0.113.0/24"]).unwrap();
    assert_eq!(does(ours, peer), APPLIES);
    let early = || SystemTime::UNIX_EPOCH - Duration::from_secs(1);
    let policy = Policy::new().rule(Rule::allow("it").time([Window::utc("Mon-Sun").unwrap()]));
    let request = get().body(()).unwrap();
    assert_eq!(policy.decide(&request.ask().with_now(early())).effect, Deny);
    assert_eq!(
        policy.decide(&request.ask()).effect,
        Deny,
        "nobody said what time it is"
    );
}

#[test]
fn get_stands_for_head_and_no_other_spelling_for_a_method() {
    let by =
        |method: &'static str| move || get().method(Method::from_bytes(method.as_bytes()).unwrap());
    let reads = |rule: Rule| rule.methods([Method::GET]);
    assert_eq!(does(reads, by("HEAD")), APPLIES);
    assert_eq!(does(reads, by("POST")), DOES_NOT);
    assert_eq!(does(reads, by("get")), UNKNOWN);
    let deletes = |rule: Rule| rule.methods([Method::DELETE]);
    assert_eq!(does(deletes, by("Delete")), UNKNOWN);
}

#[test]
fn abuse_08_every_value_of_a_role_header_counts() {
    let lines = |lines: &'static [&'static str]| {
        move || {
            let lines = lines.iter();
            lines.fold(get(), |request, line| request.header("x-role", *line))
        }
    };
    let user = |rule: Rule| rule.header(x("x-role"), ["user"]);
    let admin = |rule: Rule| rule.header(x("x-role"), ["admin"]);
    for (sent, is_user, is_admin) in [
        (&["user"][..], APPLIES, DOES_NOT),
        (&["user", "user"], APPLIES, DOES_NOT),
        (&["user, user"], APPLIES, DOES_NOT),
        (&["user", "admin"], UNKNOWN, UNKNOWN),
        (&["admin", "user"], UNKNOWN, UNKNOWN),
        (&["user,admin"], UNKNOWN, UNKNOWN),
        (&["user ,\tadmin"], UNKNOWN, UNKNOWN),
        (&["user,"], UNKNOWN, DOES_NOT),
        (&["administrator"], DOES_NOT, DOES_NOT),
        (&["USER"], DOES_NOT, DOES_NOT),
        (&[""], DOES_NOT, DOES_NOT),
        (&[], DOES_NOT, DOES_NOT),
    ] {
        assert_eq!(does(user, lines(sent)), is_user, "{sent:?}");
        assert_eq!(does(admin, lines(sent)), is_admin, "{sent:?}");
    }
    let both = |rule: Rule| rule.header(x("x-role"), ["user", "admin"]);
    assert_eq!(does(both, lines(&["user", "admin"])), APPLIES);
    let prefix = |rule: Rule| rule.header_prefix(x("x-role"), ["us"]);
    assert_eq!(does(prefix, lines(&["user", "usher"])), APPLIES);
    assert_eq!(does(prefix, lines(&["user, admin"])), UNKNOWN);
    let present = |rule: Rule| rule.header_present(x("x-role"));
    assert_eq!(does(present, lines(&[""])), APPLIES);
    assert_eq!(does(present, lines(&[])), DOES_NOT);
    let dated = |rule: Rule| rule.header(x("x-role"), ["Thu, 01 Jan"]);
    assert_eq!(
        does(dated, lines(&["Thu, 01 Jan"])),
        APPLIES,
        "a value with a comma"
    );
}

#[test]
fn a_model_is_denied_by_any_of_its_names_and_allowed_by_its_own() {
    let ask = |policy: &Policy, model: &str| {
        let request = get().body(()).unwrap();
        policy.decide(&request.ask().with_model(model)).effect
    };
    let allows = Policy::new().rule(Rule::allow("some").models(["fast", "claude-*"]));
    let denies = Policy::new()
        .rule(Rule::allow("all"))
        .rule(Rule::deny("some").models(["fast", "claude-*"]));
    for (model, allowed, denied) in [
        ("fast", Allow, Deny),
        ("faster", Deny, Allow),
        ("claude-opus", Allow, Deny),
        ("Claude-Opus", Deny, Deny),
        ("FAST", Deny, Deny),
        ("anthropic/claude-opus", Deny, Deny),
        ("a/b/fast", Deny, Deny),
        ("clau", Deny, Allow),
        ("cláude-", Deny, Allow),
        ("", Deny, Allow),
    ] {
        assert_eq!(ask(&allows, model), allowed, "{model}");
        assert_eq!(ask(&denies, model), denied, "{model}");
    }
}

#[test]
fn what_needs_the_model_is_left_until_it_is_known() {
    let outer = |policy: &Policy| {
        let request = get().body(()).unwrap();
        policy.decide(&request.ask().with_model_later()).effect
    };
    let some = || Rule::allow("some").models(["fast"]);
    let none = || Rule::deny("none").models(["slow"]);
    let all = || Rule::allow("all");
    let policy = |rules: &[Rule]| rules.iter().cloned().fold(Policy::new(), Policy::rule);
    for (rules, expected) in [
        (vec![some()], Undecided),
        (vec![none()], Deny),
        (vec![none(), some()], Undecided),
        (vec![none(), all()], Undecided),
        (vec![some(), all()], Allow),
        (vec![some().roles(["admin"])], Deny),
        (vec![none().roles(["admin"]), all()], Allow),
        (
            vec![Rule::deny("now").roles(["analyst"]), some(), all()],
            Deny,
        ),
        (vec![Rule::deny("?").when(|_| None), some()], Deny),
        (
            vec![Rule::allow("later").when_model(|_, _| Some(true))],
            Undecided,
        ),
    ] {
        assert_eq!(outer(&policy(&rules)), expected, "{rules:?}");
    }
}

#[test]
fn a_prompt_is_denied_where_it_may_be_one_and_not_where_there_is_none() {
    let policy = Policy::new()
        .rule(Rule::allow("all"))
        .rule(Rule::deny("secret").prompts(["secret"]));
    let request = get().body(()).unwrap();
    let effect = |asked: Asked<'_>| policy.decide(&asked).effect;
    assert_eq!(effect(request.ask()), Deny, "nobody knows");
    assert_eq!(effect(request.ask().with_model_later()), Undecided);
    assert_eq!(effect(request.ask().with_model("fast")), Allow);
    assert_eq!(effect(request.ask().without_prompt()), Allow);
    assert_eq!(effect(request.ask().with_prompt("other")), Allow);
    assert_eq!(effect(request.ask().with_prompt("secret")), Deny);
}

#[test]
fn who_lacks_nothing_but_scopes_is_told_which() {
    let policy = Policy::new()
        .rule(Rule::allow("keys").roles(["admin"]).all_scopes(["root"]))
        .rule(
            Rule::allow("files")
                .roles(["analyst"])
                .all_scopes(["keys:read", "chat"]),
        );
    let request = get().body(()).unwrap();
    let challenge = |policy: &Policy, request: &Request<()>| {
        let asked = request.ask();
        let decided = policy.decide(&asked);
        let rejection = policy.rejection(&decided, &asked);
        assert_eq!(rejection.kind(), Kind::Forbidden);
        let value = rejection.headers().get("www-authenticate").cloned();
        value.map(|value| value.to_str().unwrap().to_owned())
    };
    let both = r#"Bearer error="insufficient_scope", scope="keys:read chat""#;
    assert_eq!(challenge(&policy, &request).as_deref(), Some(both));
    let denied = policy.clone().rule(Rule::deny("no").teams(["red"]));
    assert_eq!(challenge(&denied, &request), None, "no scope would help");
    let nobody = Request::new(());
    assert_eq!(challenge(&policy, &nobody), None);
    let any = Policy::new().rule(Rule::allow("any").any_scope(["a", "b"]));
    let one = r#"Bearer error="insufficient_scope", scope="a""#;
    assert_eq!(challenge(&any, &request).as_deref(), Some(one));
    let odd = Policy::new().rule(Rule::allow("odd").all_scopes([r#"a" b"#]));
    assert_eq!(challenge(&odd, &request), None, "it cannot be written down");
}

#[test]
fn what_is_concealed_is_not_there() {
    let policy = Policy::new()
        .rule(Rule::allow("x").all_scopes(["y"]))
        .conceal();
    let request = get().body(()).unwrap();
    let kind = |asked: &Asked<'_>| {
        let rejection = policy.rejection(&policy.decide(asked), asked);
        assert!(rejection.headers().is_empty());
        rejection.kind()
    };
    assert_eq!(kind(&request.ask()), Kind::NotFound);
    assert_eq!(kind(&request.ask().with_model("fast")), Kind::ModelNotFound);
}

#[test]
fn a_path_that_is_not_normal_is_on_no_route() {
    let request = |path: &str| Request::get(path).extension(alice());
    for path in [
        "//reports/7",
        "/x/../reports/7",
        "/%72eports/7",
        "/reports/7;a/..;/",
    ] {
        let rule = |rule: Rule| rule.routes(["/reports/{id}"]);
        assert_eq!(does(rule, || request(path)), UNKNOWN, "{path}");
    }
}

#[test]
fn a_route_comes_from_the_exchange_where_nobody_else_says() {
    let policy = Policy::new().rule(Rule::allow("it").routes(["/a/{b}"]));
    let mut request = Request::get("/a/b").body(()).unwrap();
    assert_eq!(policy.decide(&request.ask()).effect, Deny);
    Exchange::enter(&mut request).update(|facts| facts.route = Some("/a/{b}".into()));
    assert_eq!(policy.decide(&request.ask()).effect, Allow);
}

/// Rules of every kind, over few values, so that they often apply.
fn rules() -> impl Strategy<Value = Vec<Rule>> {
    let condition = (0..9_u8, 0..3_usize);
    let rule = (
        any::<bool>(),
        proptest::collection::vec(condition, 0..3),
        0..1000_u16,
    );
    let rule = rule.prop_map(|(denies, conditions, id)| {
        let id: Arc<str> = format!("rule-{id}").into();
        let rule = if denies {
            Rule::deny(id)
        } else {
            Rule::allow(id)
        };
        conditions.into_iter().fold(rule, |rule, (kind, value)| {
            let (role, model) = (
                ["analyst", "admin", "x"][value],
                ["fast", "slow", "s*"][value],
            );
            let truth = [Some(true), Some(false), None][value];
            match kind {
                0 => rule.roles([role]),
                1 => rule.any_scope([["chat", "files", "x"][value]]),
                2 => rule.methods([[Method::GET, Method::POST, Method::PUT][value].clone()]),
                3 => rule.routes([["/reports/{id}", "/r*", "/x"][value]]),
                4 | 5 => rule.models([model]),
                6 => rule.attribute(["level", "region", "x"][value], ["gold"]),
                7 => rule.when(move |_| truth),
                _ => rule.when_model(move |_, model| truth.map(|yes| yes && model == "fast")),
            }
        })
    });
    proptest::collection::vec(rule, 0..6)
}

fn effects(rules: &[Rule]) -> [Effect; 5] {
    let policy = rules.iter().cloned().fold(Policy::new(), Policy::rule);
    let request = get().body(()).unwrap();
    let asked = || request.ask().with_route(Some("/reports/{id}".into()));
    [
        policy.decide(&asked()).effect,
        policy.decide(&asked().with_model_later()).effect,
        policy.decide(&asked().with_model("fast")).effect,
        policy.decide(&asked().with_model("slow")).effect,
        policy.decide(&asked().with_model("other")).effect,
    ]
}

proptest! {
    #[test]
    fn one_more_rule_that_denies_never_allows_more(rules in rules(), more in rules()) {
        let more = more.into_iter().filter(Rule::denies);
        let all: Vec<_> = rules.iter().cloned().chain(more).collect();
        for (before, after) in effects(&rules).into_iter().zip(effects(&all)) {
            prop_assert!(after <= before);
        }
    }

    #[test]
    fn one_more_rule_that_allows_never_denies_more(rules in rules(), more in rules()) {
        let more = more.into_iter().filter(|rule| !rule.denies());
        let all: Vec<_> = rules.iter().cloned().chain(more).collect();
        for (before, after) in effects(&rules).into_iter().zip(effects(&all)) {
            prop_assert!(after >= before);
        }
    }

    #[test]
    fn the_order_of_rules_does_not_matter(rules in rules(), turns in 0..6_usize) {
        let mut other = rules.clone();
        let middle = turns.min(other.len());
        other.rotate_left(middle);
        prop_assert_eq!(effects(&rules), effects(&other));
        other.reverse();
        prop_assert_eq!(effects(&rules), effects(&other));
    }

    #[test]
    fn what_is_decided_before_the_model_is_known_stays_so(rules in rules()) {
        let [_, outer, named @ ..] = effects(&rules);
        for inner in named {
            prop_assert_ne!(inner, Undecided);
            prop_assert!(outer == Undecided || inner == outer);
        }
    }
}
