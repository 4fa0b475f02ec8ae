//! Lists, creates, releases and copies prompts in a store, for gateways that serve them.
//!
//! ```text
//! export DATABASE_URL=sqlite:prompts.db        # or postgres://…, or file:prompts for a directory
//!
//! echo '{"messages": [{"role": "user", "content": "Hello."}]}' |
//!     cargo run --features sqlite,prompts --example prompts create greet -
//! cargo run --features sqlite,prompts --example prompts move greet production 1
//! cargo run --features sqlite,prompts --example prompts list
//! cargo run --features sqlite,prompts --example prompts copy file:prompts
//! ```

use std::{env, error::Error, fs, io, num::NonZeroU32, process::ExitCode, sync::Arc};
use tower_gateway::{
    prompt::{Actor, Assignment, Change, Created, Export, Import, Prompt, Registry, Store},
    store,
};

const USAGE: &str = "\
prompts list                                 prompts, their latest versions and labels
prompts show NAME [VERSION]                  a version as JSON, the latest by default
prompts create NAME FILE [MESSAGE]           a version from JSON, `-` for the standard input
prompts move NAME LABEL VERSION [MESSAGE]    lets a label point at a version; `none` takes it away
prompts history NAME                         who moved which label when, the newest first
prompts diff NAME OLD NEW                    what differs
prompts copy URL                             everything into another store
prompts export                               everything, as JSON in lines
prompts check                                what is wrong, file by file
prompts exercise NAME COUNT                  creates versions and releases each, to try a store

The environment has DATABASE_URL: sqlite:prompts.db (the default), postgres://…, or file:prompts";

type Failed = Box<dyn Error>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let words: Vec<_> = env::args().skip(1).collect();
    let words: Vec<_> = words.iter().map(String::as_str).collect();
    if ["help", "--help", "-h"]
        .iter()
        .any(|help| words.first() == Some(help))
    {
        println!("{USAGE}");
        return ExitCode::SUCCESS;
    }
    match run(&words).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => {
            eprintln!("{USAGE}");
            ExitCode::from(2)
        }
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// `false`: that cannot be understood.
async fn run(words: &[&str]) -> Result<bool, Failed> {
    match *words {
        ["list"] => list(&*open().await?).await?,
        ["show", name] => show(&registry().await?, name, None).await?,
        ["show", name, version] => show(&registry().await?, name, Some(number(version)?)).await?,
        ["create", name, file] => create(&registry().await?, name, file, Change::new()).await?,
        ["create", name, file, why] => {
            create(&registry().await?, name, file, Change::new().message(why)).await?;
        }
        ["move", name, label, to] => {
            point(&registry().await?, name, label, to, Change::new()).await?
        }
        ["move", name, label, to, why] => {
            let change = Change::new().message(why);
            point(&registry().await?, name, label, to, change).await?;
        }
        ["history", name] => history(&registry().await?, name).await?,
        ["diff", name, old, new] => {
            let registry = registry().await?;
            print!("{}", registry.diff(name, number(old)?, number(new)?).await?);
        }
        ["export"] => {
            let mut export = Export::new(open().await?);
            while let Some(record) = export.next().await? {
                println!("{}", serde_json::to_string(&record)?);
            }
        }
        ["copy", url] => copy(open().await?, url).await?,
        ["check"] => {
            let problems = registry().await?.problems();
            for problem in &problems {
                println!("{problem}");
            }
            if !problems.is_empty() {
                return Err(format!("{} problems", problems.len()).into());
            }
        }
        ["exercise", name, count] => exercise(&registry().await?, name, count.parse()?).await?,
        _ => return Ok(false),
    }
    Ok(true)
}

async fn open() -> Result<Arc<dyn Store>, Failed> {
    let url = env::var("DATABASE_URL").unwrap_or_else(|_| "sqlite:prompts.db".to_owned());
    Ok(store::prompts(&url).await?)
}

async fn registry() -> Result<Registry, Failed> {
    Ok(Registry::open(open().await?).await?)
}

/// Who is at the keyboard may do everything.
fn actor() -> Actor {
    Actor::code(env::var("USER").unwrap_or_else(|_| "somebody".to_owned()))
}

fn number(text: &str) -> Result<NonZeroU32, Failed> {
    let number = text.parse();
    Ok(number.map_err(|_| format!("{text:?} is not the number of a version"))?)
}

async fn list(store: &dyn Store) -> Result<(), Failed> {
    let mut after = None;
    loop {
        let page = store.heads(after.as_ref(), 1000).await?;
        let Some(last) = page.last() else {
            return Ok(());
        };
        after = Some(last.name.clone());
        for head in &page {
            let labels = head.labels.iter();
            let labels = labels.map(|(label, to)| format!(" {label}={}", to.to_json()));
            println!(
                "{:40} {:>6}{}",
                head.name,
                head.latest,
                labels.collect::<String>()
            );
        }
    }
}

async fn show(registry: &Registry, name: &str, version: Option<NonZeroU32>) -> Result<(), Failed> {
    let latest = registry.head(name).map(|head| head.latest);
    let version = version.or(latest).ok_or("there is no such prompt")?;
    let before = version.checked_add(1);
    let found = registry.versions(name, before, 1).await?;
    let found = found.first().filter(|found| found.version == version);
    let found = found.ok_or("there is no such version")?;
    println!("{}", serde_json::to_string_pretty(found)?);
    Ok(())
}

async fn create(registry: &Registry, name: &str, file: &str, change: Change) -> Result<(), Failed> {
    let text = match file {
        "-" => io::read_to_string(io::stdin())?,
        file => fs::read_to_string(file)?,
    };
    let prompt = Prompt::from_json(&serde_json::from_str(&text)?)?;
    match registry.create(&actor(), name, prompt, change).await? {
        Created::New(version) => println!("{version}"),
        Created::Same(version) => {
            println!("{version}");
            eprintln!("The latest version says the same already.");
        }
        Created::Behind(latest) => return Err(format!("the latest version is {latest}").into()),
    }
    Ok(())
}

async fn point(
    registry: &Registry,
    name: &str,
    label: &str,
    to: &str,
    change: Change,
) -> Result<(), Failed> {
    let to = match to {
        "none" => None,
        version => Some(Assignment::to(number(version)?)),
    };
    registry
        .move_label(&actor(), name, label, to, change)
        .await?;
    Ok(())
}

async fn history(registry: &Registry, name: &str) -> Result<(), Failed> {
    let mut before = None;
    loop {
        let page = registry.label_history(name, None, before, 1000).await?;
        let Some(last) = page.last() else {
            return Ok(());
        };
        before = Some(last.revision);
        for made in &page {
            println!("{}", serde_json::to_string(made)?);
        }
    }
}

async fn copy(from: Arc<dyn Store>, url: &str) -> Result<(), Failed> {
    if let Some(folder) = url.strip_prefix("file:") {
        fs::create_dir_all(folder)?;
    }
    let to = store::prompts(url).await?;
    let mut export = Export::new(from);
    let mut import = Import::new(&*to);
    while let Some(record) = export.next().await? {
        import.add(record).await?;
    }
    let report = import.report();
    eprintln!(
        "{} versions and {} moves of labels; {} were there already.",
        report.versions, report.moves, report.same
    );
    Ok(())
}

/// Tells of each change when the store has said that it is done.
async fn exercise(registry: &Registry, name: &str, count: u32) -> Result<(), Failed> {
    let actor = actor();
    let me = std::process::id();
    for nth in 0..count {
        let text = format!("{me} {nth}");
        let prompt = Prompt::new().user(&text);
        let created = registry.create(&actor, name, prompt, Change::new()).await?;
        let Created::New(version) = created else {
            return Err("two processes say the same".into());
        };
        println!("version {version} {text}");
        let to = Some(Assignment::to(version));
        let why = Change::new().message(&*text);
        registry
            .move_label(&actor, name, "production", to, why)
            .await?;
        println!("move {version} {text}");
    }
    Ok(())
}
