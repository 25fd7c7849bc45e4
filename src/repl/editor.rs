//! The line editor: history, which a file keeps from run to run, and completion of globals and fields.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::env;
use std::path::PathBuf;

use perilune::{Table, Value, Vm};
use rustyline::completion::{Completer, Pair};
use rustyline::error::ReadlineError;
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::history::DefaultHistory;
use rustyline::validate::Validator;
use rustyline::{CompletionType, Config, Context, Helper};

use super::Reader;

const KEYWORDS: [&str; 22] = [
    "and", "break", "do", "else", "elseif", "end", "false", "for", "function", "goto", "if", "in",
    "local", "nil", "not", "or", "repeat", "return", "then", "true", "until", "while",
];

/// The longest chain of `__index` tables that is followed.
const CHAIN_MAX: usize = 16;

/// A line editor on the terminal.
pub struct Editor<'a> {
    editor: rustyline::Editor<Names<'a>, DefaultHistory>,
    history: Option<PathBuf>,
}

impl<'a> Editor<'a> {
    /// An editor, if the terminal allows one.
    pub fn new(vm: &'a Vm) -> Option<Editor<'a>> {
        let config = Config::builder()
            .completion_type(CompletionType::List)
            .max_history_size(1000)
            .ok()?
            .build();
        let mut editor = rustyline::Editor::with_config(config).ok()?;
        editor.set_helper(Some(Names { vm }));
        let history = env::var_os("HOME").map(|home| PathBuf::from(home).join(".perilune_history"));
        if let Some(file) = &history {
            // There is none the first time.
            let _ = editor.load_history(file);
        }
        Some(Editor { editor, history })
    }
}

impl Reader for Editor<'_> {
    fn line(&mut self, prompt: &str) -> Option<Vec<u8>> {
        loop {
            match self.editor.readline(prompt) {
                Ok(line) => return Some(line.into_bytes()),
                // The line is given up.
                Err(ReadlineError::Interrupted) => {}
                Err(_) => return None,
            }
        }
    }

    fn remember(&mut self, input: &[u8]) {
        let text = String::from_utf8_lossy(input);
        if !text.trim().is_empty() {
            // A history that cannot be kept is no reason to stop.
            let _ = self.editor.add_history_entry(text);
        }
    }
}

impl Drop for Editor<'_> {
    fn drop(&mut self) {
        if let Some(file) = &self.history {
            // As above.
            let _ = self.editor.save_history(file);
        }
    }
}

/// The names that may be completed.
struct Names<'a> {
    vm: &'a Vm,
}

impl Helper for Names<'_> {}
impl Highlighter for Names<'_> {
    fn highlight_prompt<'b, 's: 'b, 'p: 'b>(&'s self, prompt: &'p str, _: bool) -> Cow<'b, str> {
        Cow::Borrowed(prompt)
    }
}
impl Hinter for Names<'_> {
    type Hint = String;
}
impl Validator for Names<'_> {}

impl Completer for Names<'_> {
    type Candidate = Pair;

    fn complete(
        &self,
        line: &str,
        at: usize,
        _: &Context<'_>,
    ) -> rustyline::Result<(usize, Vec<Pair>)> {
        let (start, names) = self.candidates(&line[..at]);
        let pairs = names.into_iter().map(|name| Pair {
            display: name.clone(),
            replacement: name,
        });
        Ok((start, pairs.collect()))
    }
}

/// Whether a byte belongs to a name.
fn is_name(byte: u8) -> bool {
    byte == b'_' || byte.is_ascii_alphanumeric()
}

impl Names<'_> {
    /// Where the name that ends `text` begins, and what it may become.
    fn candidates(&self, text: &str) -> (usize, BTreeSet<String>) {
        let path = text
            .bytes()
            .rev()
            .take_while(|&b| is_name(b) || b == b'.' || b == b':')
            .count();
        let path = &text[text.len() - path..];
        let base = path.rfind(['.', ':']);
        let prefix = &path[base.map_or(0, |at| at + 1)..];
        let mut names = BTreeSet::new();
        match base {
            None => {
                let keywords = KEYWORDS.iter().filter(|word| word.starts_with(prefix));
                names.extend(keywords.map(|word| word.to_string()));
                self.collect(Some(self.vm.globals()), prefix, false, &mut names);
            }
            Some(at) => {
                let methods_only = path.as_bytes()[at] == b':';
                self.collect(self.table_at(&path[..at]), prefix, methods_only, &mut names);
            }
        }
        (text.len() - prefix.len(), names)
    }

    /// The table in which the fields of the object at `path` are found.
    fn table_at(&self, path: &str) -> Option<Table> {
        let mut table = self.vm.globals();
        for name in path.split(['.', ':']) {
            let value = self.lookup(table, name)?;
            table = self.fields_of(value)?;
        }
        Some(table)
    }

    fn fields_of(&self, value: Value) -> Option<Table> {
        match value {
            Value::Table(t) => Some(t),
            Value::String(_) => self.vm.globals().raw_get("string").ok(),
            Value::UserData(u) => u.metatable().ok()??.raw_get("__index").ok(),
            _ => None,
        }
    }

    /// A field, looked for along `__index` tables.
    fn lookup(&self, table: Table, name: &str) -> Option<Value> {
        let mut table = Some(table);
        for _ in 0..CHAIN_MAX {
            let t = table?;
            let value: Value = t.raw_get(name).ok()?;
            if !value.is_nil() {
                return Some(value);
            }
            table = parent(&t);
        }
        None
    }

    /// Collects the names of fields, those along `__index` tables included.
    fn collect(
        &self,
        table: Option<Table>,
        prefix: &str,
        methods_only: bool,
        names: &mut BTreeSet<String>,
    ) {
        let mut table = table;
        for _ in 0..CHAIN_MAX {
            let Some(t) = table else {
                return;
            };
            for pair in t.pairs::<Value, Value>() {
                let Ok((Value::String(key), value)) = pair else {
                    continue;
                };
                let Ok(key) = key.to_vec().map(String::from_utf8) else {
                    return;
                };
                let Ok(key) = key else {
                    continue;
                };
                let wanted = !methods_only || matches!(value, Value::Function(_));
                let usable =
                    key.bytes().all(is_name) && !key.starts_with(|c: char| c.is_ascii_digit());
                if wanted && usable && key.starts_with(prefix) {
                    names.insert(key);
                }
            }
            table = parent(&t);
        }
    }
}

/// The table that `__index` names.
fn parent(t: &Table) -> Option<Table> {
    t.metatable().ok()??.raw_get("__index").ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn completes_keywords_globals_fields_and_methods() {
        let vm = Vm::new();
        vm.load("t = {alpha = {beta = 1, ['no name'] = 2}, s = 'x'} obj = setmetatable({own = 1}, {__index = {run = print}})")
            .exec()
            .unwrap();
        let names = Names { vm: &vm };
        for (text, start, expected) in [
            ("pri", 0, &["print"][..]),
            ("x = whi", 4, &["while"]),
            ("string.rep", 7, &["rep"]),
            ("f(t.a", 4, &["alpha"]),
            ("t.alpha.", 8, &["beta"]),
            ("t.s:rev", 4, &["reverse"]),
            ("obj.", 4, &["own", "run"]),
            ("obj:", 4, &["run"]),
            ("missing.x", 8, &[]),
            ("t.alpha.beta.", 13, &[]),
        ] {
            let (at, found) = names.candidates(text);
            let found: Vec<&str> = found.iter().map(String::as_str).collect();
            assert_eq!((at, found.as_slice()), (start, expected), "{text}");
        }
    }
}
