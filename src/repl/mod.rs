//! The interactive mode: reads a statement or expression, runs it, prints its results, and again.
//!
//! Lines come from a [`Reader`]: the line editor, if there is a terminal and the feature `repl`, or plain input.

#[cfg(feature = "repl")]
mod editor;
pub mod interrupt;

use std::io::{self, BufRead, IsTerminal, Write};

use perilune::{Error, Function, MultiValue, Result, Value, Vm};

use self::interrupt::Watch;
use super::{describer, error_text, show};

/// A source of lines.
trait Reader {
    /// The next line without its end; `None` at the end of the input.
    fn line(&mut self, prompt: &str) -> Option<Vec<u8>>;

    /// Takes note of a complete input.
    fn remember(&mut self, input: &[u8]);
}

/// Plain input. What does not come from a terminal is shown behind the prompt, as line editors do it, so that what is written
/// reads like a session.
struct Plain;

impl Reader for Plain {
    fn line(&mut self, prompt: &str) -> Option<Vec<u8>> {
        let mut out = io::stdout().lock();
        // If nobody can see the prompt, there is nobody to tell.
        let _ = out.write_all(prompt.as_bytes()).and_then(|()| out.flush());
        let mut line = Vec::new();
        let read = io::stdin().lock().read_until(b'\n', &mut line);
        if read.is_err() || line.is_empty() {
            return None;
        }
        if line.last() == Some(&b'\n') {
            line.pop();
        }
        if !io::stdin().is_terminal() {
            // As above.
            let _ = out.write_all(&line).and_then(|()| out.write_all(b"\n"));
        }
        Some(line)
    }

    fn remember(&mut self, _: &[u8]) {}
}

/// Runs the interactive mode until the input ends.
pub fn run(vm: &Vm, interrupts: &Watch) -> Result<()> {
    let mut reader = new_reader(vm);
    // What has been written is to be seen before the next prompt.
    let flush: Function = vm
        .load("local out = io.stdout return function() out:flush() end")
        .eval()?;
    // Programs run below a host function, as scripts do. Errors are shown there, where their tracebacks are whole.
    let evaluate = vm.create_function(|vm, f: Function| {
        match f.call::<MultiValue>(()) {
            Ok(results) => return print_results(vm, results),
            Err(Error::Cancelled) => return Err(Error::Cancelled),
            Err(e) => show(io::stderr(), error_text(&e)),
        }
        Ok(())
    })?;
    let describer = describer(vm)?;
    interrupts.interactive();
    let _: Result<()> = flush.call(());
    while let Some((input, chunk)) = read_chunk(vm, &mut *reader)? {
        reader.remember(&input);
        let running = interrupts.running();
        match chunk.and_then(|f| evaluate.call_with_handler::<()>(f, &describer)) {
            Ok(()) => {}
            Err(Error::Cancelled) => show(io::stderr(), "interrupted!"),
            Err(e) => show(io::stderr(), error_text(&e)),
        }
        drop(running);
        // It fails if nobody can see it.
        let _: Result<()> = flush.call(());
    }
    show(io::stdout(), "");
    Ok(())
}

#[cfg(feature = "repl")]
fn new_reader(vm: &Vm) -> Box<dyn Reader + '_> {
    let terminal = io::stdin().is_terminal() && io::stdout().is_terminal();
    match terminal.then(|| editor::Editor::new(vm)).flatten() {
        Some(editor) => Box::new(editor),
        None => Box::new(Plain),
    }
}

#[cfg(not(feature = "repl"))]
fn new_reader(_: &Vm) -> Box<dyn Reader> {
    Box::new(Plain)
}

/// A complete input and what became of it; `None` at the end.
fn read_chunk(vm: &Vm, reader: &mut dyn Reader) -> Result<Option<(Vec<u8>, Result<Function>)>> {
    let Some(mut input) = reader.line(&prompt(vm, "_PROMPT", "> ")?) else {
        return Ok(None);
    };
    if let Some(expression) = input.strip_prefix(b"=") {
        input = [b"return ", expression].concat();
    }
    if let Ok(f) = compile(vm, &[b"return ", input.as_slice()].concat()) {
        return Ok(Some((input, Ok(f))));
    }
    loop {
        let chunk = compile(vm, &input);
        let incomplete = matches!(
            &chunk,
            Err(Error::Syntax {
                incomplete_input: true,
                ..
            })
        );
        if !incomplete {
            return Ok(Some((input, chunk)));
        }
        let Some(line) = reader.line(&prompt(vm, "_PROMPT2", ">> ")?) else {
            return Ok(Some((input, chunk)));
        };
        input.push(b'\n');
        input.extend_from_slice(&line);
    }
}

fn compile(vm: &Vm, source: &[u8]) -> Result<Function> {
    vm.load(source).name("=stdin").into_function()
}

/// The prompt that a global variable holds, or the usual one.
fn prompt(vm: &Vm, name: &str, usual: &str) -> Result<String> {
    let prompt: Value = vm.globals().get(name)?;
    if prompt.is_nil() {
        return Ok(usual.to_owned());
    }
    let tostring = vm
        .load("local prompt = ... return tostring(prompt)")
        .name("=prompt");
    let text: perilune::Bytes = tostring.call(prompt)?;
    Ok(String::from_utf8_lossy(&text.0).into_owned())
}

/// Passes the results to the global `print`.
fn print_results(vm: &Vm, results: MultiValue) -> Result<()> {
    if results.is_empty() {
        return Ok(());
    }
    let print: Value = vm.globals().get("print")?;
    let printed = match &print {
        Value::Function(print) => print.call::<()>(results),
        other => Err(Error::message(format!(
            "attempt to call a {} value",
            other.type_name()
        ))),
    };
    match printed {
        Err(Error::Cancelled) => Err(Error::Cancelled),
        Err(e) => {
            let text = match &e {
                Error::Runtime(e) => e.message.clone(),
                e => e.to_string(),
            };
            show(io::stderr(), format_args!("error calling 'print' ({text})"));
            Ok(())
        }
        Ok(()) => Ok(()),
    }
}
