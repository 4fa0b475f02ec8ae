//! Who may do what.

use crate::measure::both;
use http::{Method, Request};
use std::hint::black_box;
use tower_gateway::{
    BoxError, Principal,
    authorize::{Ask, Policy, Role, Rule, Window},
    client_addr::ClientAddr,
};

fn request() -> Result<Request<()>, http::Error> {
    let who = Principal::new("alice")
        .with_team("red")
        .with_scopes(["chat", "files"])
        .with_roles(["analyst", "staff"]);
    Request::get("/reports/7")
        .header("host", "bench.test")
        .header("user-agent", "bench/1")
        .extension(who)
        .extension(ClientAddr([203, 0, 113, 7].into()))
        .body(())
}

/// What one decision takes, with what it takes to say what is asked.
async fn row(name: &str, policy: &Policy) -> Result<(), BoxError> {
    let request = request()?;
    let policy = policy.clone().clock(std::time::SystemTime::now);
    let nothing = async || {
        black_box(&request);
    };
    let decide = async || {
        let asked = request.ask().with_route(Some("/reports/{id}".into()));
        let asked = asked.with_now(std::time::SystemTime::now());
        black_box(policy.decide(&asked));
    };
    let (base, whole) = both(nothing, decide).await;
    println!("{name:<44}{:>10.0}", whole - base);
    Ok(())
}

/// Five that deny, and fifteen that allow, of which the last one applies.
fn twenty() -> Result<Policy, BoxError> {
    let mut policy = Policy::new()
        .rule(Rule::deny("suspended").teams(["suspended"]))
        .rule(Rule::deny("office").clients(["192.0.2.0/24", "2001:db8::/32"])?)
        .rule(
            Rule::deny("nights")
                .roles(["trial"])
                .time([Window::utc("22:00-06:00")?]),
        )
        .rule(
            Rule::deny("writes")
                .roles(["auditor"])
                .methods([Method::POST, Method::PUT]),
        )
        .rule(Rule::deny("keys").routes(["/keys/*"]).principals(["bob"]));
    for nth in 0..14 {
        let role = Role::new(format!("role-{nth}"));
        policy = policy.role(role.may(Method::GET, "/reports/{id}", ["*"]));
    }
    Ok(policy.role(Role::new("staff").may(Method::GET, "/reports/{id}", ["*"])))
}

pub(crate) async fn run() -> Result<(), BoxError> {
    let one = Policy::new().rule(Rule::allow("staff").roles(["staff"]));
    row("authorize: 1 rule", &one).await?;
    row("authorize: 20 rules", &twenty()?).await?;
    #[cfg(feature = "cel")]
    {
        use tower_gateway::authorize::Expression;
        let text = r#""staff" in principal.roles && request.method == "GET""#;
        let short = Rule::allow("short").expression(Expression::new(text)?);
        row("authorize: an expression", &Policy::new().rule(short)).await?;
        let text = r#"request.headers["user-agent"].all(it, it.startsWith("bench")) &&
            principal.scopes.exists(scope, scope == "files") && now.getFullYear() > 2000"#;
        let long = Rule::allow("long").expression(Expression::new(text)?);
        row("authorize: a longer expression", &Policy::new().rule(long)).await?;
    }
    Ok(())
}
