#![no_main]

#[path = "common.rs"]
mod common;

use libfuzzer_sys::fuzz_target;

const CODE: &str = r#"
local source = ...
-- Nothing that depends on addresses, on the order of tables, on time or on memory; and nothing that runs for long.
for _, word in ipairs({ "while", "repeat", "goto", "for", "rep", "function", "collectgarbage" }) do
  if source:find(word, 1, true) then return "" end
end
local out = {}
local env = { type = type, tostring = function(v) return type(v) == "table" and "table" or type(v) == "function" and "function" or tostring(v) end,
  select = select, pcall = pcall, error = error, math = { max = math.max, type = math.type, floor = math.floor }, setmetatable = setmetatable }
env.print = function(...)
  for i = 1, select("#", ...) do out[#out + 1] = env.tostring((select(i, ...))) end
end
local f, message = load(source, "=p", "t", env)
if not f then return (message:gsub("near .*", "")) end
env.print(pcall(f))
return table.concat(out, "|")
"#;

fuzz_target!(|input: &[u8]| {
    if input.len() <= 200 {
        common::compare(CODE, input);
    }
});
