//! An OpenAPI document into routes and the scopes that they need.
//! Opens nothing that the document does not open by name: whatever it leaves unsaid needs a scope.

mod need;
mod routes;
mod settle;
mod words;

use std::path::PathBuf;

use clap::Args;

use super::draft::Draft;
use super::{Target, yaml};
use crate::openapi::{self, Document};
use need::Need;
use routes::Route;

#[derive(Debug, Args)]
pub struct OpenApi {
    /// The service's document, OpenAPI 3.0 or 3.1, JSON or YAML
    file: PathBuf,
    /// Goes before the document's paths, in the place of its servers'; `/` for nothing
    #[arg(long, value_name = "PATH")]
    base_path: Option<String>,
    #[command(flatten)]
    target: Target,
}

impl OpenApi {
    pub fn run(self) -> Result<bool, String> {
        let document = openapi::read(&self.file, self.base_path.as_deref())?;
        let made = made(&document)?;
        let mut draft = Draft::new("openapi", &self.file, &self.target);
        made.notes.iter().for_each(|note| draft.note(note.clone()));
        let scopes = made.reading.join(",");
        draft.note(format!("`tokens.json` is made by `scopegate token new --id first --scopes {scopes}`"));
        let upstream = self.target.upstream.as_deref().unwrap_or("http://127.0.0.1:3000");
        draft.finish("Operations and the scopes that they need", &configuration(upstream, &made))
    }
}

/// What a document comes to.
pub struct Made {
    routes: Vec<Route>,
    pub notes: Vec<String>,
    /// Scopes for reading and for nothing else; one of the others where there are none.
    pub reading: Vec<String>,
}

impl Made {
    /// A path that can be asked for as it is and wants a token, for an example.
    pub fn example(&self) -> Option<String> {
        let plain = |route: &&Route| route.method == "GET" && route.need != Need::Public && !route.text().contains('{');
        self.routes.iter().find(plain).and_then(|route| Some(route.text().split_once(' ')?.1.to_owned()))
    }
}

pub fn configuration(upstream: &str, made: &Made) -> String {
    let routes: String = made.routes.iter().map(|route| format!("  {}: {}\n", yaml::pattern(&route.text()), route.need.yaml())).collect();
    format!("upstream: {}\ncredentials:\n  tokens: {{kind: static, file: tokens.json}}\nroutes:\n{routes}", yaml::text(upstream))
}

pub fn made(document: &Document) -> Result<Made, String> {
    let mut notes = document.notes.clone();
    let routes = settle::settle(routes::routes(document, &mut notes), &mut notes)?;
    if routes.is_empty() {
        return Err("no operation of the document has a path that a route could be for".into());
    }
    let reading = reading(&routes);
    Ok(Made { routes, notes, reading })
}

fn reading(routes: &[Route]) -> Vec<String> {
    let mut scopes: Vec<&str> = Vec::new();
    for scope in routes.iter().filter(|route| route.is_reading()).flat_map(|route| route.need.enough()) {
        let changes = |route: &Route| !route.is_reading() && route.need.scopes().iter().any(|other| other == scope);
        if !scopes.contains(&scope) && !routes.iter().any(changes) {
            scopes.push(scope);
        }
    }
    if scopes.is_empty() {
        scopes.extend(routes.iter().flat_map(|route| route.need.enough()).next().or(Some("app:read")));
    }
    scopes.into_iter().map(str::to_owned).collect()
}

/// Names for a note, the first of them where there are many.
fn listed(names: &[String]) -> String {
    const SHOWN: usize = 12;
    let shown: Vec<String> = names.iter().take(SHOWN).map(|name| format!("`{name}`")).collect();
    let more = if names.len() > SHOWN { format!(" and {} more", names.len() - SHOWN) } else { String::new() };
    format!("{}{more}", shown.join(", "))
}
