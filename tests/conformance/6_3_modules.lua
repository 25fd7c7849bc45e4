-- Manual section 6.3: modules.
check("types", type(require), type(package), type(package.loaded), type(package.preload), type(package.searchers), type(package.searchpath), type(package.path), type(package.cpath), type(package.config))
check("config", package.config)
check("loaded standard", package.loaded.string == string, package.loaded._G == _G, package.loaded.table == table, package.loaded.package == package)
check("require standard", require("string") == string, require "math" == math)
check("searchers are four", #package.searchers)
package.path, package.cpath = "./?.none;./?/init.none", "./?.nope"
package.preload.mod = function(...) return { args = { ... } } end
check("preload", require("mod").args)
check("preload results", select(2, require("mod")))
check("cached", require("mod") == require("mod"), package.loaded.mod == require("mod"))
package.loaded.mod = nil
check("loader value", select(2, require("mod")))
package.preload.nothing = function() end
check("module without value", require("nothing"))
check("module without value is true", package.loaded.nothing)
package.preload.falsy = function() return false end
check("module returning false", require("falsy"))
package.preload.setself = function(name) package.loaded[name] = "set by itself" end
check("module setting itself", require("setself"))
package.preload.both = function(name) package.loaded[name] = "set" return "returned" end
check("module doing both", require("both"))
package.preload.failing = function() error("while loading") end
raises("failing module", require, "failing")
check("not cached after failure", package.loaded.failing)
package.preload.failtable = function() error({ code = 1 }) end
raises("failing with a table", require, "failtable")
raises("missing module", require, "missing.module")
raises("missing in a function", function() require("missing") end)
raises("require nothing", require)
raises("require table", require, {})
raises("require number", require, 5)
check("searchpath missing", package.searchpath("a.b", "./?.x;./?/y"))
check("searchpath separator", package.searchpath("a-b", "./?.x", "-"))
check("searchpath replacement", package.searchpath("a.b", "./?.x", ".", "_"))
check("searchpath no separator", package.searchpath("a.b", "./?.x", ""))
check("searchpath empty", package.searchpath("a", ""))
check("searchpath no mark", package.searchpath("a", "./fixed.none"))
raises("searchpath arguments", package.searchpath, "a")
do
  local name = os.tmpname()
  local f = assert(io.open(name, "w"))
  f:write("local name, file = ... return { name = name, file = file ~= nil }")
  f:close()
  check("searchpath found", package.searchpath("x", "./?.none;" .. name) == name)
  package.path = "./?.none;" .. name
  check("require a file", (require("from.file")))
  check("require a file value 2", select(2, require("another.file")) == name)
  f = assert(io.open(name, "w"))
  f:write("x = = 1")
  f:close()
  local ok, message = pcall(require, "bad.file")
  check("file with an error", ok, (message:gsub(name:gsub("%p", "%%%0"), "FILE")))
  os.remove(name)
  package.path = "./?.none"
end
do
  local saved = package.searchers
  package.searchers = {
    function(name) return "\n\tfirst says no to " .. name end,
    function(name) if name == "special" then return function(...) return show({ ... }) end, "extra" end end,
    function() return nil end,
  }
  check("custom searcher", require("special"))
  raises("custom searchers all fail", require, "unknown")
  package.searchers = { function() return "plain text" end }
  raises("message without newline", require, "unknown")
  package.searchers = {}
  raises("no searchers", require, "unknown")
  package.searchers = nil
  raises("searchers missing", require, "unknown")
  package.searchers = saved
  package.path = nil
  raises("path missing", require, "unknown")
  package.path = 5
  raises("path is a number", require, "unknown")
  package.path = "./?.none"
  package.preload.late = function() return "late" end
  check("preload afterwards", require("late"))
  check("preload searcher result", package.searchers[1]("late") == package.preload.late, select(2, package.searchers[1]("late")))
  check("preload searcher miss", package.searchers[1]("absent"))
  check("path searcher miss", package.searchers[2]("absent"))
end
check("loaded is what require looks at", (function()
  package.loaded.fake = { 1 }
  return require("fake")
end)())
check("recursive require", (function()
  package.preload.loop = function() return { inner = package.loaded.loop } end
  return require("loop")
end)())
