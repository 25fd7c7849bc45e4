-- Gravitational simulation of the Sun and the four giant planets with a symplectic integrator:
-- floating-point reads and writes of named fields of a few small tables. The system's energy is
-- conserved by the integrator, which is checked for every number of steps.
local n = tonumber((...) or 1500000)

local sqrt = math.sqrt
local solar_mass = 4 * math.pi * math.pi
local days = 365.24

local function body(x, y, z, vx, vy, vz, mass)
  return {
    x = x, y = y, z = z,
    vx = vx * days, vy = vy * days, vz = vz * days,
    mass = mass * solar_mass,
  }
end

local bodies = {
  body(0, 0, 0, 0, 0, 0, 1),
  body(4.84143144246472090e+00, -1.16032004402742839e+00, -1.03622044471123109e-01,
    1.66007664274403694e-03, 7.69901118419740425e-03, -6.90460016972063023e-05,
    9.54791938424326609e-04),
  body(8.34336671824457987e+00, 4.12479856412430479e+00, -4.03523417114321381e-01,
    -2.76742510726411899e-03, 4.99852801234917238e-03, 2.30417297573763929e-05,
    2.85885980666130812e-04),
  body(1.28943695621391310e+01, -1.51111514016986312e+01, -2.23307578892655734e-01,
    2.96460137564761618e-03, 2.37847173959480950e-03, -2.96589568540237556e-05,
    4.36624404335156298e-05),
  body(1.53796971148509165e+01, -2.59193146099879641e+01, 1.79258772950371181e-01,
    2.68067772490389322e-03, 1.62824170038242295e-03, -9.51592254519715870e-05,
    5.15138902046611451e-05),
}

local function cancel_momentum()
  local px, py, pz = 0, 0, 0
  for _, b in ipairs(bodies) do
    px, py, pz = px + b.vx * b.mass, py + b.vy * b.mass, pz + b.vz * b.mass
  end
  local sun = bodies[1]
  sun.vx, sun.vy, sun.vz = -px / solar_mass, -py / solar_mass, -pz / solar_mass
end

local function energy()
  local e = 0
  for i, b in ipairs(bodies) do
    e = e + 0.5 * b.mass * (b.vx * b.vx + b.vy * b.vy + b.vz * b.vz)
    for j = i + 1, #bodies do
      local c = bodies[j]
      local dx, dy, dz = b.x - c.x, b.y - c.y, b.z - c.z
      e = e - b.mass * c.mass / sqrt(dx * dx + dy * dy + dz * dz)
    end
  end
  return e
end

local function advance(dt)
  local count = #bodies
  for i = 1, count do
    local b = bodies[i]
    local bx, by, bz, bmass = b.x, b.y, b.z, b.mass
    local bvx, bvy, bvz = b.vx, b.vy, b.vz
    for j = i + 1, count do
      local c = bodies[j]
      local dx, dy, dz = bx - c.x, by - c.y, bz - c.z
      local d2 = dx * dx + dy * dy + dz * dz
      local mag = dt / (d2 * sqrt(d2))
      local cm = c.mass * mag
      bvx, bvy, bvz = bvx - dx * cm, bvy - dy * cm, bvz - dz * cm
      local bm = bmass * mag
      c.vx, c.vy, c.vz = c.vx + dx * bm, c.vy + dy * bm, c.vz + dz * bm
    end
    b.vx, b.vy, b.vz = bvx, bvy, bvz
    b.x, b.y, b.z = bx + dt * bvx, by + dt * bvy, bz + dt * bvz
  end
end

cancel_momentum()
local before = energy()
for _ = 1, n do advance(0.01) end
local after = energy()
if math.abs(after - before) > 1e-4 then error("nbody: energy drifted to " .. after) end
print(string.format("%.6f\n%.6f", before, after))
