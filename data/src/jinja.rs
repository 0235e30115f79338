//! Jinja for templates that nobody has looked at: they come to an end, and take a bounded memory.
//!
//! minijinja counts what a template does and makes ([`FUEL`]), but not all of it (comparing lists that hold each other is
//! free). So a template runs in a thread of its own, which is given up when it takes too long; its stack is deep enough
//! for the deepest value that the fuel pays for.

mod source;

use minijinja::{Environment, Error, ErrorKind, Value};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::time::Duration;

pub(crate) use source::{as_minijinja, names};

/// Steps, or 64 bytes each, that one rendering may take: 96 MB at most. Real chat templates take a few thousand.
const FUEL: u64 = 1_500_000;
/// Stack of a rendering, of which only what is used is taken. A list in a list costs ten fuel and about 100 bytes here.
const STACK: usize = 64 << 20;
/// How long one rendering may take; one of a million characters takes milliseconds.
const PATIENCE: Duration = Duration::from_secs(if cfg!(test) { 3 } else { 20 });

/// Templates with their filters and functions, ready to render.
#[derive(Debug, Clone)]
pub(crate) struct Jinja(Arc<Environment<'static>>);

impl Jinja {
    /// Templates that are fit to be rendered, within bounds.
    pub fn new(mut environment: Environment<'static>) -> Self {
        environment.set_fuel(Some(FUEL));
        Self(Arc::new(environment))
    }

    /// What a template reads that it does not set itself anywhere, as far as that can be told.
    pub fn reads(&self, template: &str) -> Result<Vec<String>, Error> {
        let template = self.0.get_template(template)?;
        let mut names: Vec<String> = template.undeclared_variables(false).into_iter().collect();
        names.sort();
        Ok(names)
    }

    /// A template's text.
    ///
    /// # Errors
    /// It fails, or takes more time or memory than any template needs.
    pub fn render(&self, template: &str, context: BTreeMap<&str, Value>) -> Result<String, Error> {
        let (send, receive) = sync_channel(1);
        let (environment, template, context) = (self.0.clone(), template.to_owned(), Value::from(context));
        let thread = std::thread::Builder::new().stack_size(STACK).spawn(move || {
            let text = environment
                .get_template(&template)
                .and_then(|template| template.render(context));
            // Nobody listens any more where it took too long.
            let _ = send.send(text);
        });
        let failed = |what: String| Error::new(ErrorKind::InvalidOperation, what);
        let thread = thread.map_err(|error| failed(format!("no thread for it: {error}")))?;
        let result = receive.recv_timeout(PATIENCE);
        // Joined, or never let go of: where a thread is detached at the moment it ends, glibc still reads its descriptor, which went
        // with the stack (one this large is unmapped at once), and the program ends by SIGSEGV.
        match &result {
            Err(RecvTimeoutError::Timeout) => std::mem::forget(thread),
            _ => drop(thread.join()),
        }
        match result {
            Ok(Err(error)) if error.kind() == ErrorKind::OutOfFuel => Err(failed(format!(
                "it takes more than {FUEL} steps or {} MB: does it repeat without an end?",
                FUEL * 64 / 1_000_000
            ))),
            Ok(result) => result,
            Err(RecvTimeoutError::Timeout) => Err(failed(format!(
                "it is not done after {} seconds",
                PATIENCE.as_secs()
            ))),
            Err(RecvTimeoutError::Disconnected) => Err(failed("it broke the template engine".to_owned())),
        }
    }
}

/// An error in one line, with its place.
pub(crate) fn said(error: &Error) -> String {
    let what = error
        .detail()
        .map_or_else(|| error.kind().to_string(), str::to_owned);
    match error.line() {
        Some(line) => format!("{what} (line {line} of the template)"),
        None => what,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicBool, Ordering};

    static ENDED: AtomicBool = AtomicBool::new(false);

    struct Last;

    impl Drop for Last {
        fn drop(&mut self) {
            std::thread::sleep(Duration::from_millis(100));
            ENDED.store(true, Ordering::SeqCst);
        }
    }

    thread_local!(static LAST: Last = const { Last });

    #[test]
    fn a_rendering_has_ended_when_its_text_is_there_so_its_thread_is_never_detached_as_it_ends() {
        let mut environment = Environment::new();
        environment.add_function("touch", || LAST.with(|_| "touched"));
        environment.add_template("it", "{{ touch() }}").unwrap();
        assert_eq!(
            Jinja::new(environment).render("it", BTreeMap::new()).unwrap(),
            "touched"
        );
        assert!(ENDED.load(Ordering::SeqCst));
    }
}
