//! Reads a page of HTML strictly, and looks at it in a browser where one is installed.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Elements without an end.
const VOID: [&str; 5] = ["meta", "link", "br", "hr", "input"];

/// A page takes a browser a second or two.
const PATIENCE: Duration = Duration::from_secs(120);

/// An element: its name and its attributes.
pub type Element = (String, Vec<(String, String)>);

/// The elements of a page, in their order. Each must end where it should, attributes have quotes, and ids are of one element each.
#[track_caller]
pub fn elements(page: &str) -> Vec<Element> {
    let (mut found, mut open, mut ids): (Vec<Element>, Vec<String>, BTreeSet<String>) = Default::default();
    let mut rest = page.strip_prefix("<!DOCTYPE html>\n").expect("a page of HTML 5");
    while let Some(at) = rest.find('<') {
        assert!(!rest[..at].contains('>'), "a bare > in {:?}", &rest[..at]);
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('/') {
            let end = after.find('>').unwrap();
            assert_eq!(open.pop().as_deref(), Some(&after[..end]), "at {:.80}", rest);
            rest = &after[end + 1..];
            continue;
        }
        let (element, closed, after) = start(rest);
        rest = after;
        if let Some((_, id)) = element.1.iter().find(|(name, _)| name == "id") {
            assert!(ids.insert(id.clone()), "two elements are called {id}");
        }
        let name = element.0.clone();
        found.push(element);
        if closed || VOID.contains(&name.as_str()) {
            continue;
        }
        if ["script", "style"].contains(&name.as_str()) {
            // Text, up to its end, whatever is in it.
            let end = format!("</{name}>");
            rest = &rest[rest.find(&end).unwrap() + end.len()..];
            continue;
        }
        open.push(name);
    }
    assert!(open.is_empty(), "{open:?} do not end");
    found
}

/// A start tag, behind its `<`: the element, whether it ends itself, and what follows.
#[track_caller]
fn start(text: &str) -> (Element, bool, &str) {
    let end = text.find([' ', '>', '/', '\n']).unwrap();
    let (name, mut rest) = text.split_at(end);
    assert!(
        !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric()),
        "{name:?}"
    );
    let mut attributes = Vec::new();
    loop {
        rest = rest.trim_start();
        if let Some(after) = rest.strip_prefix("/>") {
            return ((name.to_owned(), attributes), true, after);
        }
        if let Some(after) = rest.strip_prefix('>') {
            return ((name.to_owned(), attributes), false, after);
        }
        let end = rest.find(['=', '>', ' ']).unwrap();
        let key = rest[..end].to_owned();
        rest = &rest[end..];
        let value = match rest.strip_prefix("=\"") {
            Some(after) => {
                let (value, after) = after.split_once('"').unwrap();
                rest = after;
                value.to_owned()
            }
            None => String::new(),
        };
        attributes.push((key, value));
    }
}

pub fn attribute<'a>(element: &'a Element, name: &str) -> Option<&'a str> {
    let found = element.1.iter().find(|(known, _)| known == name);
    found.map(|(_, value)| value.as_str())
}

/// What a browser found of a page.
#[derive(Debug)]
pub struct Look {
    /// The width of everything that is on it, and of its place.
    pub widths: (u64, u64),
    /// What its scripts failed of.
    pub errors: Vec<String>,
    /// Its text, as it is after its scripts have run.
    pub text: String,
}

/// Looks at a page in headless Chromium, in a place of some width; none where no such browser is installed. Of those that are, one that shows
/// nothing at all (a stub, a sandbox that sees no files) is none, unless `GCPO_CHROMIUM` names it.
pub fn look(page: &Path, width: u32) -> Option<Look> {
    let dir = page.parent().unwrap();
    let text = fs::read_to_string(page).unwrap();
    let probe = "<script>const errors = [];\
        window.addEventListener('error', (event) => errors.push(event.message));\
        document.addEventListener('securitypolicyviolation', (event) => errors.push(event.violatedDirective));\
        window.addEventListener('load', () => setTimeout(() => { const page = document.documentElement;\
        parent.postMessage(JSON.stringify({wide: page.scrollWidth, place: page.clientWidth, errors, text: document.body.innerText}), '*'); }, 50));\
        </script></head>";
    let probed = dir.join(format!("probed-{width}.html"));
    fs::write(&probed, text.replacen("</head>", probe, 1)).unwrap();
    // A window is never as narrow as a telephone; a frame is.
    let frame = dir.join(format!("frame-{width}.html"));
    let name = probed.file_name().unwrap().to_string_lossy().into_owned();
    let wrapped = format!(
        "<!DOCTYPE html><meta charset=\"utf-8\"><body><iframe src=\"{name}\" style=\"border:0;width:{width}px;height:4000px\"></iframe><script>\
         window.addEventListener('message', (event) => {{ const found = document.createElement('template'); found.id = 'found';\
         found.setAttribute('data-found', encodeURIComponent(event.data)); document.body.append(found); }});</script>"
    );
    fs::write(&frame, wrapped).unwrap();
    let asked = std::env::var("GCPO_CHROMIUM").ok();
    let programs: Vec<&str> = match &asked {
        Some(program) => vec![program],
        None => vec![
            "chromium",
            "chromium-browser",
            "google-chrome",
            "google-chrome-stable",
        ],
    };
    let doms = programs
        .into_iter()
        .filter_map(|program| dom(program, dir, &frame));
    let dom = doms.into_iter().find(|dom| dom.contains("<iframe"));
    assert!(dom.is_some() || asked.is_none(), "GCPO_CHROMIUM shows no page");
    let dom = dom?;
    let found = dom.split("data-found=\"").nth(1).expect("the page was loaded");
    let found = decoded(found.split('"').next().unwrap());
    let found: serde_json::Value = serde_json::from_str(&found).unwrap();
    Some(Look {
        widths: (found["wide"].as_u64().unwrap(), found["place"].as_u64().unwrap()),
        errors: serde_json::from_value(found["errors"].clone()).unwrap(),
        text: found["text"].as_str().unwrap().to_owned(),
    })
}

/// A page after its scripts have run, as a browser has it; none if there is no such browser. One that hangs is ended.
fn dom(program: &str, dir: &Path, page: &Path) -> Option<String> {
    let out = dir.join("dom.html");
    let mut command = Command::new(program);
    command.args([
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--virtual-time-budget=20000",
        "--window-size=1600,4200",
        "--dump-dom",
    ]);
    command.arg(format!("--user-data-dir={}", dir.join("profile").display()));
    command
        .arg(page)
        .stdout(fs::File::create(&out).unwrap())
        .stderr(Stdio::null());
    let mut child = command.spawn().ok()?;
    let began = Instant::now();
    while child.try_wait().unwrap().is_none() {
        if began.elapsed() > PATIENCE {
            let _ = child.kill();
            let _ = child.wait();
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Some(String::from_utf8_lossy(&fs::read(out).unwrap()).into_owned())
}

/// What `encodeURIComponent` made of a text.
fn decoded(text: &str) -> String {
    let (bytes, mut at, mut found) = (text.as_bytes(), 0, Vec::new());
    while at < bytes.len() {
        let escape = (bytes[at] == b'%').then(|| u8::from_str_radix(&text[at + 1..at + 3], 16).unwrap());
        found.push(escape.unwrap_or(bytes[at]));
        at += if escape.is_some() { 3 } else { 1 };
    }
    String::from_utf8(found).unwrap()
}
