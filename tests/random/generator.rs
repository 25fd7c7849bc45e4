//! Random Lua programs that terminate and print what they observe.
//!
//! A program is a tree of statements and expressions, not text, so that it can be made smaller. What no program may
//! do is to depend on what the reference leaves open: orders of traversal, borders of tables with holes, addresses,
//! the order in which `sort` compares, the sign of NaN.

use std::fmt::Write;

use crate::common::Rng;

#[path = "hot.rs"]
mod hot;
#[path = "mixed.rs"]
mod mixed;
#[path = "tight.rs"]
mod tight;

pub use hot::Hot;

/// A statement or an expression.
#[derive(Clone)]
pub struct Node(Vec<Part>);

#[derive(Clone)]
enum Part {
    Text(String),
    Expr(Node),
    Block(Vec<Node>),
}

impl From<&str> for Part {
    fn from(text: &str) -> Part {
        Part::Text(text.to_owned())
    }
}

impl From<String> for Part {
    fn from(text: String) -> Part {
        Part::Text(text)
    }
}

impl From<Node> for Part {
    fn from(node: Node) -> Part {
        Part::Expr(node)
    }
}

impl From<Vec<Node>> for Part {
    fn from(block: Vec<Node>) -> Part {
        Part::Block(block)
    }
}

macro_rules! node {
    ($($part:expr),+ $(,)?) => { Node(vec![$(Part::from($part)),+]) };
}

/// The program's text.
pub fn render(block: &[Node]) -> String {
    let mut text = String::new();
    render_block(block, 0, &mut text);
    text
}

fn render_block(block: &[Node], indent: usize, text: &mut String) {
    for node in block {
        let _ = write!(text, "{:1$}", "", indent * 2);
        render_node(node, indent, text);
        text.push('\n');
    }
}

fn render_node(node: &Node, indent: usize, text: &mut String) {
    for part in &node.0 {
        match part {
            Part::Text(t) => text.push_str(t),
            Part::Expr(e) => render_node(e, indent, text),
            Part::Block(block) => {
                text.push('\n');
                render_block(block, indent + 1, text);
                let _ = write!(text, "{:1$}", "", indent * 2);
            }
        }
    }
}

/// The smallest program found by deleting and replacing parts of one that `fails` and keeps failing.
pub fn minimise(mut program: Vec<Node>, mut fails: impl FnMut(&[Node]) -> bool) -> Vec<Node> {
    let mut attempts = 1_500;
    let mut size = program.len().div_ceil(2);
    while size > 0 {
        let mut at = 0;
        while at < program.len() {
            let mut smaller = program.clone();
            smaller.drain(at..(at + size).min(program.len()));
            if fails(&smaller) {
                program = smaller;
            } else {
                at += size;
            }
        }
        size /= 2;
    }
    loop {
        let mut progress = false;
        let mut n = 0;
        while attempts > 0
            && let Some(smaller) = edited(&program, n)
        {
            attempts -= 1;
            if fails(&smaller) {
                program = smaller;
                progress = true;
            } else {
                n += 1;
            }
        }
        if !progress || attempts == 0 {
            return program;
        }
    }
}

/// The program with its `n`-th possible simplification.
fn edited(block: &[Node], mut n: usize) -> Option<Vec<Node>> {
    edit_block(block, &mut n)
}

fn edit_block(block: &[Node], n: &mut usize) -> Option<Vec<Node>> {
    for (at, node) in block.iter().enumerate() {
        let replaced = |by: Vec<Node>| {
            let mut block = block.to_vec();
            block.splice(at..=at, by);
            Some(block)
        };
        if take(n) {
            return replaced(Vec::new());
        }
        for part in &node.0 {
            if let Part::Block(inner) = part
                && take(n)
            {
                return replaced(inner.clone());
            }
        }
        if let Some(node) = edit_node(node, n) {
            return replaced(vec![node]);
        }
    }
    None
}

fn edit_node(node: &Node, n: &mut usize) -> Option<Node> {
    for (at, part) in node.0.iter().enumerate() {
        let replaced = |by: Part| {
            let mut node = node.clone();
            node.0[at] = by;
            Some(node)
        };
        match part {
            Part::Text(_) => {}
            Part::Block(block) => {
                if let Some(block) = edit_block(block, n) {
                    return replaced(block.into());
                }
            }
            Part::Expr(inner) => {
                let minimal = inner.0.len() == 1
                    && matches!(&inner.0[0], Part::Text(t) if t == "nil" || t == "1");
                if !minimal && take(n) {
                    return replaced(node!["nil"].into());
                }
                if !minimal && take(n) {
                    return replaced(node!["1"].into());
                }
                for child in &inner.0 {
                    if let Part::Expr(child) = child
                        && take(n)
                    {
                        return replaced(child.clone().into());
                    }
                }
                if let Some(inner) = edit_node(inner, n) {
                    return replaced(inner.into());
                }
            }
        }
    }
    None
}

fn take(n: &mut usize) -> bool {
    let hit = *n == 0;
    *n = n.wrapping_sub(1);
    hit
}

/// What a variable holds, as far as the generator knows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    Any,
    Number,
    String,
    /// A sequence, which only ever grows and shrinks at its end.
    Array,
    Table,
    Function,
    /// A table with a metatable and methods.
    Object,
    Coroutine,
}

struct Variable {
    name: String,
    kind: Kind,
    assignable: bool,
}

#[derive(Clone, Copy, Default)]
struct Context {
    in_loop: bool,
    in_function: bool,
    varargs: bool,
    in_coroutine: bool,
}

pub struct Generator {
    rng: Rng,
    variables: Vec<Variable>,
    context: Context,
    names: usize,
    labels: usize,
    depth: usize,
}

const GLOBALS: [(&str, Kind); 5] = [
    ("gn", Kind::Number),
    ("gs", Kind::String),
    ("gt", Kind::Table),
    ("gx", Kind::Any),
    ("gy", Kind::Any),
];

const EVENTS: [(&str, &str); 20] = [
    ("__add", "+"),
    ("__sub", "-"),
    ("__mul", "*"),
    ("__div", "/"),
    ("__mod", "%"),
    ("__pow", "^"),
    ("__idiv", "//"),
    ("__band", "&"),
    ("__bor", "|"),
    ("__bxor", "~"),
    ("__shl", "<<"),
    ("__shr", ">>"),
    ("__concat", ".."),
    ("__eq", "=="),
    ("__lt", "<"),
    ("__le", "<="),
    ("__eq", "~="),
    ("__lt", ">"),
    ("__le", ">="),
    ("__sub", "-"),
];

const INTEGERS: [&str; 16] = [
    "0",
    "1",
    "-1",
    "2",
    "3",
    "7",
    "10",
    "63",
    "64",
    "255",
    "0x7fffffff",
    "0x100000000",
    "9007199254740993",
    "math.maxinteger",
    "math.mininteger",
    "-5",
];

const FLOATS: [&str; 14] = [
    "0.0",
    "-0.0",
    "0.5",
    "1.0",
    "2.0",
    "-1.5",
    "3.25",
    "1e15",
    "1e16",
    "2^53",
    "2^63",
    "-2^63",
    "1e308",
    "math.huge",
];

const STRINGS: [&str; 16] = [
    "\"\"",
    "\"a\"",
    "\"b\"",
    "\"abc\"",
    "\"10\"",
    "\"0x10\"",
    "\" 7 \"",
    "\"1e1\"",
    "\"-3.5\"",
    "\"x\\0y\"",
    "\"Hello, World\"",
    "\"aXbXc\"",
    "\"9223372036854775808\"",
    "\"a longer string that is not interned, with %s and %d in it\"",
    "\"\\u{e9}\\xff\"",
    "\"k\"",
];

const KEYS: [&str; 14] = [
    "1",
    "2",
    "3",
    "4",
    "2.0",
    "1.5",
    "-1",
    "2^53",
    "\"x\"",
    "\"y\"",
    "\"z\"",
    "true",
    "math.mininteger",
    "\"1\"",
];

const PATTERNS: [&str; 12] = [
    "\"%a\"",
    "\"%d+\"",
    "\"(%w)(%w*)\"",
    "\".\"",
    "\"()b\"",
    "\"[^X]+\"",
    "\"^a\"",
    "\"%s*$\"",
    "\"(a)(.-)c\"",
    "\"%f[%w]%w+\"",
    "\"\"",
    "\"X?\"",
];

impl Generator {
    pub fn new(rng: Rng) -> Generator {
        Generator {
            rng,
            variables: Vec::new(),
            context: Context::default(),
            names: 0,
            labels: 0,
            depth: 0,
        }
    }

    /// A whole program.
    pub fn program(mut self) -> Vec<Node> {
        for (name, kind) in GLOBALS {
            self.declare(name.to_owned(), kind, true);
        }
        let mut program = vec![node!["gn, gs, gt = 1, \"s\", {}"]];
        for kind in [Kind::Number, Kind::String, Kind::Array, Kind::Table] {
            program.push(self.declaration(kind));
        }
        if !self.rng.one_in(3) {
            program.push(self.class());
        }
        let count = 6 + self.rng.below(14);
        for _ in 0..count {
            let statement = match self.rng.below(8) {
                0 => self.local(),
                1 => self.function(),
                2 if self.rng.one_in(2) => self.class(),
                _ => {
                    let label = self.label();
                    let body = self.function_body("", 2, false);
                    node![
                        format!("refuel() raises(\"{label}\", function()"),
                        body,
                        "end)"
                    ]
                }
            };
            program.push(statement);
        }
        program.push(node!["refuel()"]);
        program.push(node!["check(\"globals\", gn, gs, gt, gx, gy)"]);
        program.push(self.check());
        program
    }

    // Variables.

    fn declare(&mut self, name: String, kind: Kind, assignable: bool) {
        self.variables.push(Variable {
            name,
            kind,
            assignable,
        });
    }

    fn fresh(&mut self, kind: Kind) -> String {
        self.names += 1;
        let prefix = match kind {
            Kind::Any => "v",
            Kind::Number => "n",
            Kind::String => "s",
            Kind::Array => "a",
            Kind::Table => "t",
            Kind::Function => "f",
            Kind::Object => "o",
            Kind::Coroutine => "co",
        };
        format!("{prefix}{}", self.names)
    }

    fn label(&mut self) -> String {
        self.labels += 1;
        format!("L{}", self.labels)
    }

    /// A variable that satisfies the condition, the newer the likelier.
    fn find(&mut self, wanted: impl Fn(&Variable) -> bool) -> Option<String> {
        let found: Vec<usize> = (0..self.variables.len())
            .filter(|&i| wanted(&self.variables[i]))
            .collect();
        if found.is_empty() {
            return None;
        }
        let at = self.rng.below(found.len()).max(self.rng.below(found.len()));
        Some(self.variables[found[at]].name.clone())
    }

    fn of_kind(&mut self, kind: Kind) -> Option<String> {
        self.find(|v| v.kind == kind)
    }

    /// Runs `f` in a scope of its own.
    fn scoped<T>(&mut self, f: impl FnOnce(&mut Self) -> T) -> T {
        let (count, context) = (self.variables.len(), self.context);
        self.depth += 1;
        let result = f(self);
        self.depth -= 1;
        self.variables.truncate(count);
        self.context = context;
        result
    }

    fn block(&mut self, size: usize) -> Vec<Node> {
        self.scoped(|g| {
            let count = 1 + g.rng.below(size.max(1));
            let mut block: Vec<Node> = (0..count).map(|_| g.statement()).collect();
            if g.rng.one_in(4) {
                block.push(g.check());
            }
            if g.context.in_loop && g.rng.one_in(6) {
                block.push(node!["if ", g.condition(2), " then break end"]);
            }
            if g.context.in_function && g.rng.one_in(8) {
                block.push(node!["do return ", g.any(2), " end"]);
            }
            block
        })
    }

    fn loop_block(&mut self) -> Vec<Node> {
        self.scoped(|g| {
            g.context.in_loop = true;
            g.block(3)
        })
    }

    /// The body of a function with the given parameters.
    fn function_body(&mut self, parameters: &str, size: usize, varargs: bool) -> Vec<Node> {
        let in_coroutine = self.context.in_coroutine;
        self.function_body_in(parameters, size, varargs, in_coroutine)
    }

    fn function_body_in(
        &mut self,
        parameters: &str,
        size: usize,
        varargs: bool,
        in_coroutine: bool,
    ) -> Vec<Node> {
        self.scoped(|g| {
            g.context = Context {
                in_loop: false,
                in_function: true,
                varargs,
                in_coroutine,
            };
            for name in parameters.split(", ").filter(|name| !name.is_empty()) {
                g.declare(name.to_owned(), Kind::Any, true);
            }
            let mut body = vec![node!["enter()"]];
            body.extend(g.block(size));
            if !g.rng.one_in(3) {
                body.push(match g.rng.below(6) {
                    0 => node!["return ", g.any(2), ", ", g.any(1)],
                    1 if varargs => node!["return ..."],
                    2 => node!["return ", g.call(2)],
                    _ => node!["return ", g.any(3)],
                });
            }
            body
        })
    }

    // Expressions.

    fn wild(&mut self) -> bool {
        self.rng.one_in(60)
    }

    fn number_literal(&mut self) -> Node {
        match self.rng.below(5) {
            0 => node![self.rng.pick(&INTEGERS)],
            1 => node![self.rng.pick(&FLOATS)],
            2 => node![format!("{}", self.rng.next() as i64 >> self.rng.below(63))],
            _ => node![format!("{}", self.rng.below(12))],
        }
    }

    fn number(&mut self, depth: usize) -> Node {
        if self.wild() {
            return self.any(depth.min(1));
        }
        if depth == 0 || self.rng.one_in(3) {
            if self.rng.one_in(2)
                && let Some(name) = self.of_kind(Kind::Number)
            {
                return node![name];
            }
            return self.number_literal();
        }
        let d = depth - 1;
        match self.rng.below(20) {
            0..=5 => {
                let op = self
                    .rng
                    .pick(&[" + ", " - ", " * ", " / ", " // ", " % ", " - ", " + "]);
                node!["(", self.number(d), op, self.number(d), ")"]
            }
            6 => node![
                "(",
                self.number(d),
                " ^ ",
                self.rng.pick(&["2", "0.5", "-1", "3"]),
                ")"
            ],
            7..=8 => {
                let op = self.rng.pick(&[" & ", " | ", " ~ ", " << ", " >> "]);
                node![
                    "(toint(",
                    self.number(d),
                    ")",
                    op,
                    "toint(",
                    self.number(d),
                    "))"
                ]
            }
            9 => node![
                "(",
                self.number(d),
                self.rng.pick(&[" & ", " | ", " << "]),
                self.number(d),
                ")"
            ],
            10 => node!["-(", self.number(d), ")"],
            11 => node!["~toint(", self.number(d), ")"],
            12 => node!["#", self.string(d)],
            13 => {
                let f = self.rng.pick(&["floor", "ceil", "abs", "tointeger"]);
                node!["(math.", f, "(", self.number(d), ") or 0)"]
            }
            14 => {
                let f = self.rng.pick(&["max", "min", "fmod"]);
                node!["math.", f, "(", self.number(d), ", ", self.number(d), ")"]
            }
            15 => node![
                "(tonumber(",
                self.string(d),
                ") or ",
                self.number_literal(),
                ")"
            ],
            16 => match self.of_kind(Kind::Array) {
                Some(a) => node![
                    "(",
                    a.clone(),
                    "[",
                    self.number(d),
                    " % (#",
                    a,
                    " + 1)] or 0)"
                ],
                None => node!["len(", self.any(d), ")"],
            },
            17 => match self.of_kind(Kind::Array) {
                Some(a) => node!["#", a],
                None => self.number_literal(),
            },
            18 => node!["(", self.string(d), " + ", self.number(d), ")"],
            _ if self.context.varargs => node!["select(\"#\", ...)"],
            _ => node![
                "(string.byte(",
                self.string(d),
                ", ",
                self.number_literal(),
                ") or 1)"
            ],
        }
    }

    fn string(&mut self, depth: usize) -> Node {
        if self.wild() {
            return self.any(depth.min(1));
        }
        if depth == 0 || self.rng.one_in(3) {
            if self.rng.one_in(2)
                && let Some(name) = self.of_kind(Kind::String)
            {
                return node![name];
            }
            return node![self.rng.pick(&STRINGS)];
        }
        let d = depth - 1;
        match self.rng.below(13) {
            0 => node!["(", self.string(d), " .. ", self.string(d), ")"],
            1 => node![
                "(",
                self.string(d),
                " .. nn(",
                self.number(d),
                ") .. ",
                self.string(d),
                ")"
            ],
            2 => node![
                "(",
                self.string(d),
                "):sub(",
                self.number(d),
                ", ",
                self.number(d),
                ")"
            ],
            3 => node![
                "cap(",
                self.string(d),
                "):rep(",
                self.rng.pick(&["0", "1", "2", "3"]),
                ", ",
                self.string(0),
                ")"
            ],
            4 => node![
                "(",
                self.string(d),
                "):",
                self.rng.pick(&["upper", "lower", "reverse"]),
                "()"
            ],
            5 => {
                let spec = self.rng.pick(&[
                    "%d", "%5.2f", "%g", "%x", "%-8d|", "%+i", "%q", "%s", "%.3s", "%10s", "%a",
                ]);
                node![
                    format!("string.format(\"<{spec}>\", nn("),
                    self.number(d),
                    "))"
                ]
            }
            6 => node![
                "(cap(",
                self.string(d),
                "):gsub(",
                self.rng.pick(&PATTERNS),
                ", ",
                self.rng.pick(&[
                    "\"<%0>\"",
                    "\"-\"",
                    "\"%1\"",
                    "{a = 1, X = \"q\", b = false}",
                    "\"%%\""
                ]),
                "))",
            ],
            7 => {
                let body = self.scoped(|g| {
                    g.declare("m".to_owned(), Kind::Any, true);
                    g.context = Context {
                        in_function: true,
                        in_coroutine: g.context.in_coroutine,
                        ..Context::default()
                    };
                    let mut body = vec![node!["enter()"]];
                    if g.rng.one_in(3) {
                        body.extend(g.block(1));
                    }
                    body.push(node!["return m and #m"]);
                    body
                });
                node![
                    "(cap(",
                    self.string(d),
                    "):gsub(",
                    self.rng.pick(&PATTERNS),
                    ", function(m)",
                    body,
                    "end, 3))"
                ]
            }
            8 => node![
                "(cap(",
                self.string(d),
                "):match(",
                self.rng.pick(&PATTERNS),
                ") or \"\")"
            ],
            9 => node!["tostring(nn(", self.number(d), "))"],
            10 => node!["type(", self.any(d), ")"],
            11 => node!["string.char(toint(", self.number(d), ") % 256)"],
            _ => match self.of_kind(Kind::Array) {
                Some(a) => node!["table.concat(", a, ", \",\")"],
                None => node!["tostring(", self.condition(d), ")"],
            },
        }
    }

    fn condition(&mut self, depth: usize) -> Node {
        if depth == 0 {
            return node![self.rng.pick(&["true", "false", "gx", "nil"])];
        }
        let d = depth - 1;
        match self.rng.below(8) {
            0..=2 => {
                let op = self
                    .rng
                    .pick(&[" < ", " <= ", " > ", " >= ", " == ", " ~= "]);
                node!["(", self.number(d), op, self.number(d), ")"]
            }
            3 => {
                let op = self.rng.pick(&[" < ", " <= ", " == "]);
                node!["(", self.string(d), op, self.string(d), ")"]
            }
            4 => node![
                "(",
                self.any(d),
                self.rng.pick(&[" == ", " ~= "]),
                self.any(d),
                ")"
            ],
            5 => node!["not ", self.condition(d)],
            _ => node![
                "(",
                self.condition(d),
                self.rng.pick(&[" and ", " or "]),
                self.condition(d),
                ")"
            ],
        }
    }

    fn table(&mut self, depth: usize) -> Node {
        if depth == 0 || self.rng.one_in(4) {
            if let Some(name) = self.of_kind(Kind::Table) {
                return node![name];
            }
            return node!["{}"];
        }
        let mut parts = vec![Part::from("{")];
        let positional = self.rng.one_in(2);
        for _ in 0..self.rng.below(5) {
            match self.rng.below(3) {
                _ if positional => {}
                0 => {
                    parts.push(node!["[", self.rng.pick(&KEYS), "] = ", self.any(depth - 1)].into())
                }
                _ => parts.push(
                    node![
                        self.rng.pick(&["x = ", "y = ", "z = "]),
                        self.any(depth - 1)
                    ]
                    .into(),
                ),
            }
            if positional {
                parts.push(self.any(depth - 1).into());
            }
            parts.push(", ".into());
        }
        if positional && self.rng.one_in(3) {
            parts.push(self.call(depth - 1).into());
        } else if positional && self.context.varargs && self.rng.one_in(2) {
            parts.push("...".into());
        }
        parts.push("}".into());
        Node(parts)
    }

    fn lambda(&mut self, depth: usize) -> Node {
        let varargs = self.rng.one_in(4);
        let parameters = self.parameters();
        let list = parameter_list(&parameters, varargs);
        let body = self.function_body(&parameters, depth.min(2), varargs);
        node![format!("function({list})"), body, "end"]
    }

    fn parameters(&mut self) -> String {
        let count = self.rng.below(4);
        (0..count)
            .map(|_| self.fresh(Kind::Any))
            .collect::<Vec<_>>()
            .join(", ")
    }

    fn arguments(&mut self, depth: usize) -> Node {
        let mut parts = Vec::new();
        for i in 0..self.rng.below(4) {
            if i > 0 {
                parts.push(", ".into());
            }
            parts.push(self.any(depth).into());
        }
        if self.context.varargs && self.rng.one_in(4) {
            parts.push(if parts.is_empty() { "..." } else { ", ..." }.into());
        }
        parts.push("".into());
        Node(parts)
    }

    fn call(&mut self, depth: usize) -> Node {
        let d = depth.saturating_sub(1);
        match self.rng.below(10) {
            0..=3 => match self.of_kind(Kind::Function) {
                Some(f) => node![f, "(", self.arguments(d), ")"],
                None => node![
                    "select(",
                    self.rng.pick(&["1", "2", "-1"]),
                    ", ",
                    self.any(d),
                    ", ",
                    self.any(d),
                    ")"
                ],
            },
            4..=5 => match self.of_kind(Kind::Object) {
                Some(o) => {
                    let m = self.rng.pick(&[":m1(", ":m2(", "(", ".m1("]);
                    node![o, m, self.arguments(d), ")"]
                }
                None => node!["rawequal(", self.any(d), ", ", self.any(d), ")"],
            },
            6 if self.context.in_coroutine => node!["coroutine.yield(", self.arguments(d), ")"],
            6 => node!["pcall(", self.callee(), ", ", self.any(d), ")"],
            7 => match self.of_kind(Kind::Coroutine) {
                Some(co) => node!["coroutine.resume(", co, ", ", self.any(d), ")"],
                None => node!["type(", self.any(d), ")"],
            },
            8 if self.context.varargs => node!["select(", self.number(0), ", ...)"],
            8 => node!["table.unpack({", self.any(d), ", ", self.any(d), "})"],
            _ => node!["pcall(", self.callee(), ", ", self.arguments_or_nil(d), ")"],
        }
    }

    fn arguments_or_nil(&mut self, depth: usize) -> Node {
        node!["nil, ", self.any(depth)]
    }

    fn callee(&mut self) -> Node {
        match self.rng.below(5) {
            0 => node![self.rng.pick(&[
                "error",
                "tonumber",
                "math.floor",
                "string.rep",
                "setmetatable",
                "ipairs",
                "rawlen"
            ])],
            1 => match self.of_kind(Kind::Object) {
                Some(o) => node![o],
                None => node!["gx"],
            },
            _ => match self.of_kind(Kind::Function) {
                Some(f) => node![f],
                None => node!["select"],
            },
        }
    }

    fn object_expression(&mut self, depth: usize) -> Node {
        let Some(o) = self.of_kind(Kind::Object) else {
            return self.number(depth);
        };
        let d = depth.saturating_sub(1);
        match self.rng.below(9) {
            0..=3 => {
                let (_, op) = EVENTS[self.rng.below(EVENTS.len())];
                let other = match self.of_kind(Kind::Object) {
                    Some(other) if self.rng.one_in(3) => node![other],
                    _ => self.any(d),
                };
                if self.rng.one_in(3) {
                    node!["(", other, format!(" {op} {o})")]
                } else {
                    node![format!("({o} {op} "), other, ")"]
                }
            }
            4 => node!["(", self.rng.pick(&["-", "~", "#", "not "]), o, ")"],
            5 => node![o, ".", self.rng.pick(&["v", "w", "x", "m1", "q"])],
            6 => node![o, "[", self.any(d), "]"],
            7 => node!["(", o.clone(), " .. ", self.string(0), " .. ", o, ")"],
            _ => node![o, ":m1(", self.arguments(d), ")"],
        }
    }

    /// An expression of any type.
    fn any(&mut self, depth: usize) -> Node {
        if depth == 0 || self.rng.one_in(5) {
            if self.rng.one_in(2)
                && let Some(name) = self.find(|v| v.kind != Kind::Array)
            {
                return node![name];
            }
            return match self.rng.below(5) {
                0 => node!["nil"],
                1 => node![self.rng.pick(&["true", "false"])],
                2 => node![self.rng.pick(&STRINGS)],
                _ => self.number_literal(),
            };
        }
        match self.rng.below(16) {
            0..=3 => self.number(depth),
            4..=5 => self.string(depth),
            6 => self.condition(depth),
            7 => self.table(depth),
            8 if self.depth < 6 => self.lambda(depth - 1),
            9..=10 => self.object_expression(depth),
            11 => self.call(depth),
            12 => node![
                "(",
                self.any(depth - 1),
                self.rng.pick(&[" and ", " or "]),
                self.any(depth - 1),
                ")"
            ],
            13 => match self.of_kind(Kind::Table) {
                Some(t) => node![t, "[", self.rng.pick(&KEYS), "]"],
                None => node!["gt.x"],
            },
            14 => match self.of_kind(Kind::Table) {
                Some(t) => node![t, ".", self.rng.pick(&["x", "y", "z"])],
                None => node!["gt[1]"],
            },
            _ => node!["(", self.call(depth - 1), ")"],
        }
    }

    fn of(&mut self, kind: Kind, depth: usize) -> Node {
        match kind {
            Kind::Any => self.any(depth),
            Kind::Number => self.number(depth),
            Kind::String => node!["cap(", self.string(depth), ")"],
            Kind::Table => self.table(depth),
            Kind::Function => self.lambda(depth),
            Kind::Array => {
                let values = [self.number(1), self.number(1), self.number(0)]
                    .map(|n| node!["nn(", n, ") or 0"]);
                let [a, b, c] = values;
                node!["{", a, ", ", b, ", ", c, "}"]
            }
            Kind::Object => match self.of_kind(Kind::Object) {
                Some(o) => node![o],
                None => node!["setmetatable({v = 1}, {__index = {m1 = type}})"],
            },
            Kind::Coroutine => {
                let varargs = self.rng.one_in(3);
                let parameters = self.parameters();
                let list = parameter_list(&parameters, varargs);
                let body = self.function_body_in(&parameters, 4, varargs, true);
                node![format!("coroutine.create(function({list})"), body, "end)"]
            }
        }
    }

    // Statements.

    fn declaration(&mut self, kind: Kind) -> Node {
        let name = self.fresh(kind);
        let constant = self.rng.one_in(8);
        let value = self.of(kind, 2);
        self.declare(name.clone(), kind, !constant);
        node![
            "local ",
            name,
            if constant { " <const> = " } else { " = " },
            value
        ]
    }

    fn local(&mut self) -> Node {
        match self.rng.below(10) {
            0..=2 => self.declaration(Kind::Number),
            3 => self.declaration(Kind::String),
            4 => self.declaration(Kind::Array),
            5 => self.declaration(Kind::Table),
            6 => self.declaration(Kind::Any),
            7 => self.declaration(Kind::Coroutine),
            8 => {
                let (a, b) = (self.fresh(Kind::Any), self.fresh(Kind::Any));
                let value = match self.rng.below(3) {
                    0 if self.context.varargs => node!["..."],
                    1 => node![self.any(1), ", ", self.call(2)],
                    _ => self.call(2),
                };
                self.declare(a.clone(), Kind::Any, true);
                self.declare(b.clone(), Kind::Any, true);
                node![format!("local {a}, {b} = "), value]
            }
            _ => match self.find(|v| v.name.starts_with('C')) {
                Some(class) => {
                    let name = self.fresh(Kind::Object);
                    let value = node![class, ".new(", self.any(1), ", ", self.number(1), ")"];
                    self.declare(name.clone(), Kind::Object, true);
                    node!["local ", name, " = ", value]
                }
                None => self.declaration(Kind::Function),
            },
        }
    }

    fn function(&mut self) -> Node {
        let name = self.fresh(Kind::Function);
        let parameters = self.parameters();
        let varargs = self.rng.one_in(3);
        let list = parameter_list(&parameters, varargs);
        let global = self.rng.one_in(4);
        self.declare(name.clone(), Kind::Function, !global);
        let body = self.function_body(&parameters, 4, varargs);
        node![
            format!(
                "{}function {name}({list})",
                if global { "" } else { "local " }
            ),
            body,
            "end"
        ]
    }

    /// A class: methods, events and a constructor.
    fn class(&mut self) -> Node {
        let class = format!("C{}", self.fresh(Kind::Object));
        let mut parts: Vec<Part> = vec![format!("local {class} = {{}}").into()];
        let parent = self.find(|v| v.name.starts_with('C'));
        self.declare(class.clone(), Kind::Any, false);
        let mut lines = Vec::new();
        match (self.rng.below(4), parent) {
            (0, _) => {
                let body = self.function_body("self, k", 1, false);
                let header = format!("{class}.__index = function(self, k)");
                lines.push(node![header, body, "end"]);
            }
            (1, _) => lines.push(node![
                format!("{class}.__index = {class}; {class}.w = "),
                self.any(1)
            ]),
            (2, Some(parent)) => {
                lines.push(node![format!(
                    "{class}.__index = {class}; setmetatable({class}, {parent})"
                )]);
            }
            _ => lines.push(node![format!("{class}.__index = {class}")]),
        }
        for method in ["m1", "m2"] {
            if !self.rng.one_in(5) {
                let varargs = self.rng.one_in(4);
                let parameters = self.parameters();
                let list = parameter_list(&parameters, varargs);
                self.variables.push(Variable {
                    name: "self".to_owned(),
                    kind: Kind::Object,
                    assignable: false,
                });
                let body = self.function_body(&parameters, 2, varargs);
                self.variables.pop();
                lines.push(node![
                    format!("function {class}:{method}({list})"),
                    body,
                    "end"
                ]);
            }
        }
        for (event, _) in EVENTS {
            if self.rng.one_in(4) {
                let body = self.event_body("a, b");
                // As the reference is usually built, `<=` falls back to `__lt`, which Lua 5.4 does not promise.
                let also = if event == "__lt" {
                    format!("{class}.__le = {class}.__le or {class}.__lt")
                } else {
                    String::new()
                };
                lines.push(node![
                    format!("{class}.{event} = function(a, b)"),
                    body,
                    "end ",
                    also
                ]);
            }
        }
        for event in ["__unm", "__bnot", "__len", "__call", "__close"] {
            if self.rng.one_in(4) {
                let body = self.event_body("a, b");
                lines.push(node![
                    format!("{class}.{event} = function(a, b, ...)"),
                    body,
                    "end"
                ]);
            }
        }
        if self.rng.one_in(4) {
            lines.push(node![
                format!("{class}.__tostring = function(a) enter() return "),
                self.string(1),
                " end"
            ]);
        }
        match self.rng.below(6) {
            0 => {
                let body = self.event_body("t, k, v");
                lines.push(node![
                    format!("{class}.__newindex = function(t, k, v) enter() rawset(t, \"q\", v)"),
                    body,
                    "end",
                ]);
            }
            1 => lines.push(node![format!("{class}.__newindex = gt")]),
            _ => {}
        }
        let fresh = if self.rng.one_in(3) {
            format!(
                "setmetatable(o, {{__index = {class}, __add = {class}.__add, __eq = {class}.__eq}})"
            )
        } else {
            format!("setmetatable(o, {class})")
        };
        lines.push(node![format!(
            "function {class}.new(v, w) local o = {{v = v}} o.w = w return {fresh} end"
        )]);
        parts.push(" do".into());
        parts.push(lines.into());
        parts.push("end".into());
        Node(parts)
    }

    fn event_body(&mut self, parameters: &str) -> Vec<Node> {
        self.scoped(|g| {
            g.context.in_function = true;
            g.context.in_loop = false;
            g.context.varargs = false;
            for name in parameters.split(", ") {
                g.declare(name.to_owned(), Kind::Any, true);
            }
            let mut body = vec![node!["enter()"]];
            match g.rng.below(4) {
                0 => body.push(node![format!(
                    "check(\"event {}\", {parameters})",
                    g.labels
                )]),
                1 => body.extend(g.block(1)),
                _ => {}
            }
            body.push(node!["return ", g.any(2)]);
            body
        })
    }

    fn check(&mut self) -> Node {
        let label = self.label();
        let mut parts: Vec<Part> = vec![format!("check(\"{label}\"").into()];
        for _ in 0..1 + self.rng.below(3) {
            parts.push(", ".into());
            let value = match self.rng.below(4) {
                0 => match self.find(|_| true) {
                    Some(name) => node![name],
                    None => node!["gx"],
                },
                _ => self.any(2),
            };
            parts.push(value.into());
        }
        parts.push(")".into());
        Node(parts)
    }

    fn statement(&mut self) -> Node {
        if self.depth > 7 {
            return self.assignment();
        }
        match self.rng.below(26) {
            0..=4 => self.assignment(),
            5..=7 => self.local(),
            8..=10 => self.check(),
            11..=12 => {
                let otherwise = match self.rng.below(3) {
                    0 => node!["else", self.block(2), "end"],
                    1 => node!["elseif ", self.condition(2), " then", self.block(2), "end"],
                    _ => node!["end"],
                };
                node!["if ", self.condition(2), " then", self.block(3), otherwise]
            }
            13..=14 => self.numeric_for(),
            15..=16 => self.generic_for(),
            17 => self.while_loop(),
            18 => {
                let name = self.fresh(Kind::Number);
                let body = self.loop_block();
                let end = self.rng.below(6);
                node![
                    format!("local {name} = 0 repeat tick() {name} = {name} + 1 do"),
                    body,
                    format!("end ::continue:: until {name} > {end}"),
                ]
            }
            19 if self.depth < 5 => self.function(),
            20 => node!["do", self.block(3), "end"],
            21 => self.protected(),
            22 => self.coroutine(),
            23 => self.closing(),
            24 if self.context.in_loop => {
                node!["if ", self.condition(2), " then goto continue end"]
            }
            24 => self.sorting(),
            _ => match self.rng.below(4) {
                0 if self.context.in_coroutine => {
                    node![
                        "check(\"yielded\", coroutine.yield(",
                        self.arguments(1),
                        "))"
                    ]
                }
                1 => node![
                    "if ",
                    self.condition(2),
                    " then error(",
                    self.any(1),
                    self.rng.pick(&[")", ", 0)", ", 2)"]),
                    " end"
                ],
                _ => node!["check(\"call\", ", self.call(2), ")"],
            },
        }
    }

    fn assignment(&mut self) -> Node {
        match self.rng.below(14) {
            0..=2 => {
                let Some(name) = self.find(|v| v.kind == Kind::Number && v.assignable) else {
                    return node!["gn = ", self.number(2)];
                };
                node![name.clone(), " = ", self.of(Kind::Number, 3)]
            }
            3 => match self.find(|v| v.kind == Kind::String && v.assignable) {
                Some(s) if self.rng.one_in(2) => node![format!("{s} = {s} .. "), node!["\"+\""]],
                Some(s) => node![s, " = ", self.of(Kind::String, 3)],
                None => node!["gs = ", self.of(Kind::String, 2)],
            },
            4 => match self.find(|v| v.kind == Kind::Any && v.assignable) {
                Some(name) => node![name, " = ", self.any(3)],
                None => node!["gx = ", self.any(3)],
            },
            5..=6 => match self.of_kind(Kind::Array) {
                Some(a) => match self.rng.below(4) {
                    0 => node![format!("{a}[#{a}] = nil")],
                    1 => node![
                        format!("if #{a} > 0 then {a}[1] = nn("),
                        self.number(2),
                        ") or 0 end"
                    ],
                    2 => node![format!("table.insert({a}, nn("), self.number(1), ") or 0)"],
                    _ => node![format!("{a}[#{a} + 1] = nn("), self.number(2), ") or 0"],
                },
                None => node!["gt = {}"],
            },
            7..=9 => match self.of_kind(Kind::Table) {
                Some(t) => {
                    let value = if self.rng.one_in(4) {
                        node!["nil"]
                    } else {
                        self.any(2)
                    };
                    match self.rng.below(4) {
                        0 => node![t, "[", self.any(1), "] = ", value],
                        1 => node![t, "[", self.rng.pick(&KEYS), "] = ", value],
                        2 => node!["rawset(", t, ", ", self.rng.pick(&KEYS), ", ", value, ")"],
                        _ => node![t, ".", self.rng.pick(&["x", "y", "z"]), " = ", value],
                    }
                }
                None => node!["gt.x = ", self.any(2)],
            },
            10 => match self.of_kind(Kind::Object) {
                Some(o) => node![
                    o,
                    self.rng.pick(&[".v = ", ".x = ", "[1] = ", ".w = "]),
                    self.any(2)
                ],
                None => node!["gy = ", self.any(2)],
            },
            11 => {
                let a = self
                    .find(|v| v.kind == Kind::Any && v.assignable)
                    .unwrap_or("gx".to_owned());
                let b = self
                    .find(|v| v.kind == Kind::Any && v.assignable)
                    .unwrap_or("gy".to_owned());
                match self.rng.below(3) {
                    0 => node![format!("{a}, {b} = {b}, {a}")],
                    1 => node![
                        format!("{a}, gt.x, {b} = "),
                        self.any(1),
                        ", ",
                        self.call(1)
                    ],
                    _ => node![format!("{a}, {b} = "), self.call(2)],
                }
            }
            12 => match self
                .find(|v| v.kind == Kind::Function && v.assignable && v.name.starts_with('f'))
            {
                Some(f) => node![f, " = ", self.lambda(2)],
                None => node!["gx = ", self.lambda(2)],
            },
            // No library functions: which of its names a message uses would depend on the order of a traversal.
            _ => match self.of_kind(Kind::Function) {
                Some(f) => node!["gx = ", f, self.rng.pick(&["", "", " or gx"])],
                None => node!["gx = ", self.lambda(2)],
            },
        }
    }

    fn numeric_for(&mut self) -> Node {
        let name = self.fresh(Kind::Number);
        let range = match self.rng.below(12) {
            0 => "1, 0".to_owned(),
            1 => "3, 1, -1".to_owned(),
            2 => "1.0, 2.5, 0.5".to_owned(),
            3 => "math.maxinteger - 2, math.maxinteger".to_owned(),
            4 => "math.mininteger, math.mininteger + 3, 2".to_owned(),
            5 => "1, math.huge, 1000000".to_owned(),
            6 => "10, 1, -4".to_owned(),
            _ => format!("1, {}", 2 + self.rng.below(12)),
        };
        let range = match self.rng.below(8) {
            0 => node![self.number(1), ", ", self.number(1), ", ", self.number(1)],
            1 => node!["1, ", self.number(1)],
            _ => node![range],
        };
        let body = self.scoped(|g| {
            g.declare(name.clone(), Kind::Number, true);
            g.loop_block()
        });
        node![
            format!("for {name} = "),
            range,
            " do tick()",
            body,
            "::continue:: end"
        ]
    }

    fn generic_for(&mut self) -> Node {
        let (k, v) = (self.fresh(Kind::Any), self.fresh(Kind::Any));
        let iterator = match self.rng.below(9) {
            0..=1 => match self.of_kind(Kind::Array) {
                Some(a) => node!["ipairs(", a, ")"],
                None => node!["ipairs({3, 2, 1})"],
            },
            2 => match self.of_kind(Kind::Table) {
                Some(t) => node!["spairs(", t, ")"],
                None => node!["spairs(gt)"],
            },
            3 => return self.traversal(),
            4 => node![
                "string.gmatch(cap(",
                self.string(1),
                "), ",
                self.rng.pick(&PATTERNS),
                ")"
            ],
            5 => {
                let body = self.function_body_in("", 3, false, true);
                node!["coroutine.wrap(function()", body, "end)"]
            }
            6 => {
                let limit = self.rng.below(6);
                let body = self.scoped(|g| {
                    g.context = Context {
                        in_function: true,
                        in_coroutine: g.context.in_coroutine,
                        ..Context::default()
                    };
                    g.block(1)
                });
                node![
                    "function(s, c) enter()",
                    body,
                    format!("c = c + 1 if c < {limit} then return c, s end end, "),
                    self.any(1),
                    ", 0",
                    self.rng
                        .pick(&["", ", nil, closer(\"for\")", ", closer(\"for\")"]),
                ]
            }
            7 => node![
                "setmetatable({}, {__call = function(t, s, c) c = c + 1 if c < 4 then return c, s end end}), 1, 0"
            ],
            _ => node![self.any(1), ", ", self.any(1)],
        };
        let body = self.scoped(|g| {
            g.declare(k.clone(), Kind::Any, true);
            g.declare(v.clone(), Kind::Any, true);
            g.loop_block()
        });
        node![
            format!("for {k}, {v} in "),
            iterator,
            " do tick()",
            body,
            "::continue:: end"
        ]
    }

    /// A traversal in the table's own order, of which only sums are seen.
    fn traversal(&mut self) -> Node {
        let t = self.of_kind(Kind::Table).unwrap_or("gt".to_owned());
        let label = self.label();
        match self.rng.below(3) {
            0 => node![format!(
                "do local n, m = 0, 0 for k, v in pairs({t}) do tick() n = n + 1 \
                 if math.type(v) == \"integer\" then m = m + v end end check(\"{label}\", n, m) end"
            )],
            1 => node![format!(
                "do local n = 0 for k, v in pairs({t}) do {t}[k] = nil n = n + 1 end check(\"{label}\", n, next({t})) end"
            )],
            _ => node![format!(
                "do local n = 0 for k, v in next, {t} do n = n + 1 if type(v) == \"number\" then {t}[k] = n * 0 end end \
                 check(\"{label}\", n) end"
            )],
        }
    }

    fn while_loop(&mut self) -> Node {
        let name = self.fresh(Kind::Number);
        let end = self.rng.below(10);
        let condition = node![format!("{name} < {end}"), node![""]];
        let body = self.scoped(|g| {
            g.declare(name.clone(), Kind::Number, false);
            g.loop_block()
        });
        let more = if self.rng.one_in(3) {
            node![" and ", self.condition(2)]
        } else {
            node![" and ", node!["true"]]
        };
        node![
            format!("local {name} = 0 while "),
            condition,
            more,
            format!(" do tick() {name} = {name} + 1"),
            body,
            "::continue:: end",
        ]
    }

    fn protected(&mut self) -> Node {
        let label = self.label();
        let varargs = std::mem::replace(&mut self.context.varargs, false);
        let raise = match self.rng.below(5) {
            0 => node!["error(", self.any(2), ")"],
            1 => node![
                "error(",
                self.string(1),
                ", ",
                self.rng.pick(&["0", "1", "2"]),
                ")"
            ],
            2 => node!["local _ = ", self.any(3)],
            3 => node!["assert(", self.condition(2), ", ", self.any(1), ")"],
            _ => node!["return ", self.any(2)],
        };
        self.context.varargs = varargs;
        let mut body = self.function_body("", 3, false);
        body.push(node!["do ", raise, " end"]);
        if let Some(at) = body
            .iter()
            .position(|n| matches!(&n.0[0], Part::Text(t) if t.starts_with("return ")))
        {
            body.truncate(at);
        }
        match self.rng.below(3) {
            0 => {
                let handler = self.event_body("e");
                node![
                    format!("check(\"{label}\", xpcall(function()"),
                    body,
                    "end, function(e)",
                    handler,
                    "end))",
                ]
            }
            _ => node![
                format!("check(\"{label}\", pcall(function()"),
                body,
                "end))"
            ],
        }
    }

    fn coroutine(&mut self) -> Node {
        let (co, label) = (self.fresh(Kind::Coroutine), self.label());
        let create = self.of(Kind::Coroutine, 2);
        let mut lines = vec![node![format!("local {co} = "), create]];
        self.scoped(|g| {
            g.declare(co.clone(), Kind::Coroutine, false);
            for i in 0..1 + g.rng.below(4) {
                lines.push(node![
                    format!("check(\"{label}.{i}\", coroutine.resume({co}, "),
                    g.any(1),
                    "))"
                ]);
                if g.rng.one_in(4) {
                    lines.push(g.statement());
                }
            }
        });
        if self.rng.one_in(2) {
            lines.push(node![format!(
                "check(\"{label} close\", coroutine.status({co}), pcall(coroutine.close, {co}))"
            )]);
        }
        lines.push(node![format!(
            "check(\"{label} status\", coroutine.status({co}))"
        )]);
        node!["do", lines, "end"]
    }

    fn closing(&mut self) -> Node {
        let name = self.fresh(Kind::Any);
        let label = self.label();
        let value = match self.rng.below(6) {
            0 => node!["nil"],
            1 => node![format!("closer(\"{label}\", "), self.any(1), ")"],
            2 => self.of(Kind::Object, 0),
            _ => node![format!("closer(\"{label}\")")],
        };
        let body = self.block(3);
        node![format!("do local {name} <close> = "), value, body, "end"]
    }

    fn sorting(&mut self) -> Node {
        let label = self.label();
        let values: Vec<String> = (0..self.rng.below(12))
            .map(|_| self.number_literal_text())
            .collect();
        let comparator = self.rng.pick(&[
            "",
            ", function(a, b) return a > b end",
            ", function(a, b) if a % 7 ~= b % 7 then return a % 7 < b % 7 end return a < b end",
            ", function(a, b) return tostring(a) < tostring(b) end",
        ]);
        node![format!(
            "do local a = {{{}}} table.sort(a{comparator}) check(\"{label}\", table.unpack(a)) end",
            values.join(", ")
        )]
    }

    fn number_literal_text(&mut self) -> String {
        format!("{}", self.rng.next() as i64 >> self.rng.below(63))
    }
}

fn parameter_list(parameters: &str, varargs: bool) -> String {
    match (parameters.is_empty(), varargs) {
        (_, false) => parameters.to_owned(),
        (true, true) => "...".to_owned(),
        (false, true) => format!("{parameters}, ..."),
    }
}
