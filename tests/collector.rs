//! What the collector keeps and what it clears: random object graphs with weak tables, ephemerons and finalizers,
//! observed after explicit full collections, as under the reference. The collector does nothing in between, since when it
//! would is nobody's promise.
//!
//! `PERILUNE_SEEDS=n` tries `n` programs.

mod common;

use std::env;
use std::fmt::Write;

use common::{Rng, difference, run_perilune, run_reference};
use perilune::{Vm, VmBuilder};

const DEFAULT_SEEDS: u64 = 60;

/// Every object knows its number, `roots` holds some of them, and each is found in `weak` as long as it exists.
/// Strong edges are the fields of an object, `eph` maps objects to objects, weakly in the key.
const HELPERS: &str = r#"
collectgarbage("stop")
roots, finalized = {}, {}
weak = setmetatable({}, { __mode = "v" })
keys = setmetatable({}, { __mode = "k" })
eph = { setmetatable({}, { __mode = "k" }), setmetatable({}, { __mode = "k" }) }
both = setmetatable({}, { __mode = "kv" })
values = setmetatable({}, { __mode = "v" })
resurrected = {}

function new(id)
  local o = { id = id }
  weak[id], keys[o] = o, id
  return o
end

function get(id) return weak[id] end

-- Which objects are left in each table, by number. Objects under way to their finalizers are gone from weak values,
-- but not from weak keys.
function observe(label)
  local function ids(t, pick)
    local out = {}
    for k, v in pairs(t) do out[#out + 1] = pick(k, v) end
    table.sort(out)
    return table.concat(out, " ")
  end
  local function pair(k, v)
    return (type(k) == "table" and k.id or type(k)) .. ">" .. (type(v) == "table" and v.id or type(v))
  end
  check(label .. " weak", ids(weak, function(k) return k end))
  check(label .. " keys", ids(keys, function(k) return k.id end))
  check(label .. " eph", ids(eph[1], pair), ids(eph[2], pair))
  check(label .. " both", ids(both, pair))
  check(label .. " values", ids(values, pair))
  check(label .. " resurrected", ids(resurrected, function(k, v) return v.id end))
  check(label .. " finalized", table.concat(finalized, " "))
end

-- Finalizers of one cycle run in the reverse order of marking.
function finalizer(kind)
  return { __gc = function(o)
    finalized[#finalized + 1] = o.id .. kind
    if kind == "r" then
      resurrected[#resurrected + 1] = o
    elseif kind == "a" then
      resurrected[#resurrected + 1] = o
      setmetatable(o, finalizer("f"))
    elseif kind == "n" then
      finalized[#finalized + 1] = tostring(keys[o]) .. tostring(weak[o.id] == nil)
    elseif kind == "x" then
      new(o.id + 1000)
    end
  end }
end

kinds = {}
for kind in string.gmatch("franx", ".") do kinds[kind] = finalizer(kind) end
"#;

/// Statements are functions of their own, called at once, so that no register keeps an object alive.
fn program(seed: u64) -> Vec<u8> {
    let mut rng = Rng::new(seed);
    let mut text = HELPERS.to_owned();
    let mut count = 0;
    for step in 0..20 + rng.below(30) {
        let mut line = |line: String| {
            writeln!(text, "(function() {line} end)()").expect("writing to a string")
        };
        let fresh = 2 + rng.below(6);
        if step == 0 || rng.one_in(3) {
            for id in count..count + fresh {
                line(format!("roots[{id}] = new({id})"));
            }
            count += fresh;
        }
        let id = |rng: &mut Rng| rng.below(count);
        for _ in 0..rng.below(6) {
            let (a, b, c) = (id(&mut rng), id(&mut rng), id(&mut rng));
            let with = format!(
                "local a, b, c = get({a}), get({b}), get({c}) if not (a and b and c) then return end"
            );
            match rng.below(13) {
                0..=1 => line(format!("{with} a.x = b")),
                2 => line(format!("{with} a[#a + 1] = b")),
                3 => line(format!("{with} a[b] = c")),
                4 => line(format!("{with} eph[{}][a] = b", 1 + rng.below(2))),
                5 => line(format!("{with} eph[1][a] = {{b, id = -{c}}}")),
                6 => line(format!("{with} both[a] = b")),
                7 => line(format!("{with} values[{a}] = b values[a] = c")),
                8 => line(format!("{with} a.f = function() return b, c end")),
                9 => line(format!(
                    "{with} a.co = coroutine.wrap(function(x) coroutine.yield(x) return b end) a.co(c)"
                )),
                10 => line(format!("{with} a.x = nil")),
                11 => line(format!("{with} eph[2][function() return a end] = b")),
                _ => {
                    let kind = *rng.pick(&[&'f', &'f', &'r', &'a', &'n', &'x']);
                    line(format!(
                        "{with} if getmetatable(a) == nil then setmetatable(a, kinds.{kind}) end"
                    ));
                }
            }
        }
        for _ in 0..rng.below(4) {
            line(format!("roots[{}] = nil", id(&mut rng)));
        }
        if rng.one_in(4) {
            line("for i = 1, 300 do local garbage = {i, tostring(i)} end".to_owned());
        }
        if rng.one_in(5) {
            line(
                rng.pick(&[
                    "collectgarbage('generational')",
                    "collectgarbage('incremental')",
                ])
                .to_owned(),
            );
        }
        if rng.one_in(3) {
            // The second one finds what the finalizers of the first have let go.
            line(format!(
                "collectgarbage() collectgarbage() observe('{step}')"
            ));
        }
        if rng.one_in(12) {
            line("resurrected = {}".to_owned());
        }
    }
    text.push_str(
        "roots, resurrected = {}, {} for _ = 1, 4 do collectgarbage() end observe('end')\n",
    );
    text.into_bytes()
}

/// The first seed of a failing program under these settings, with the difference.
fn check(settings: fn() -> VmBuilder, portion: u64) {
    let seeds =
        env::var("PERILUNE_SEEDS").map_or(DEFAULT_SEEDS, |n| n.parse().expect("a number of seeds"));
    for seed in 0..seeds / portion {
        let source = program(seed);
        if let Some(report) =
            difference(&run_reference(&source), &run_perilune(settings(), &source))
        {
            panic!(
                "seed {seed}\n{}\n{report}",
                String::from_utf8_lossy(&source[HELPERS.len()..])
            );
        }
    }
}

#[test]
fn full_collections_keep_and_clear_the_same_objects() {
    check(Vm::builder, 1);
}

#[test]
fn hot_code_changes_nothing() {
    check(|| Vm::builder().hot_threshold(1), 2);
}
