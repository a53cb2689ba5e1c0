//! What the pages load, out of this program: names that change with the content, so that a browser may keep it for good.
//! Serves nothing else, from nowhere else.

use std::fmt::Write;
use std::sync::LazyLock;

use axum::extract::Path;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};

use crate::credential::digest::sha256;

/// One file of the program's own.
#[derive(Debug)]
pub struct Asset {
    content: &'static [u8],
    kind: &'static str,
    /// With its content's hash.
    name: String,
}

impl Asset {
    fn new(name: &str, kind: &'static str, content: &'static [u8]) -> Self {
        let mut hash = String::new();
        for byte in sha256(content).iter().take(8) {
            let _ = write!(hash, "{byte:02x}");
        }
        let (stem, end) = name.split_once('.').unwrap_or((name, ""));
        Self { content, kind, name: format!("{stem}-{hash}.{end}") }
    }

    pub fn url(&self) -> String {
        format!("/panel/assets/{}", self.name)
    }
}

const SCRIPT: &str = "text/javascript; charset=utf-8";

pub static STYLE: LazyLock<Asset> = LazyLock::new(|| Asset::new("panel.css", "text/css; charset=utf-8", include_bytes!("assets/panel.css")));
pub static PANEL: LazyLock<Asset> = LazyLock::new(|| Asset::new("panel.js", SCRIPT, include_bytes!("assets/panel.js")));
/// <https://htmx.org> 2.0.11 as it is published.
pub static HTMX: LazyLock<Asset> = LazyLock::new(|| Asset::new("htmx.js", SCRIPT, include_bytes!("assets/htmx.min.js")));
pub static ICON: LazyLock<Asset> = LazyLock::new(|| Asset::new("icon.svg", "image/svg+xml", include_bytes!("assets/icon.svg")));

pub async fn serve(Path(name): Path<String>) -> Response {
    let all = [&*STYLE, &*PANEL, &*HTMX, &*ICON];
    match all.into_iter().find(|asset| asset.name == name) {
        Some(asset) => {
            let headers = [(header::CONTENT_TYPE, asset.kind), (header::CACHE_CONTROL, "public, max-age=31536000, immutable")];
            (headers, asset.content).into_response()
        }
        None => StatusCode::NOT_FOUND.into_response(),
    }
}
