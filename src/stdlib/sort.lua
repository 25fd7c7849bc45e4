-- Sorts t[1] to t[n] in place by the order function less: quicksort with the comparisons of the reference
-- implementation in the same order, so that elements that compare equal end up where they do there. The order
-- function is the script's; nothing is assumed of it. The calls of less are replaced by the operator for sorting
-- without an order function.

local invalid_order, random_bits

return function(t, n, less)
  local low, high, bits = 1, n, 0
  -- Parts that are still to be sorted: three values each, "count" values in all.
  local waiting, count = nil, 0
  ::part::
  -- Puts first, middle and last element in order; the middle one is the pivot.
  local a, b = t[low], t[high]
  if less(b, a) then
    t[low] = b
    t[high] = a
  end
  local length = high - low
  if length > 1 then
    local middle = (low + high) // 2
    if length >= 100 and bits ~= 0 then
      local quarter = length // 4
      middle = low + quarter + bits % (quarter * 2)
    end
    local pivot = t[middle]
    a = t[low]
    if less(pivot, a) then
      t[middle] = a
      t[low] = pivot
    else
      b = t[high]
      if less(b, pivot) then
        t[middle] = b
        t[high] = pivot
      end
    end
    if length > 2 then
      local last = high - 1
      pivot = t[middle]
      b = t[last]
      t[middle] = b
      t[last] = pivot
      -- Smaller elements to the left, greater ones to the right.
      local i, j = low, last
      while true do
        i = i + 1
        a = t[i]
        while less(a, pivot) do
          if i == last then invalid_order() end
          i = i + 1
          a = t[i]
        end
        j = j - 1
        b = t[j]
        while less(pivot, b) do
          if j < i then invalid_order() end
          j = j - 1
          b = t[j]
        end
        if j < i then break end
        t[i] = b
        t[j] = a
      end
      t[last] = a
      t[i] = pivot
      -- The smaller part comes first, so that few parts wait.
      local size, other_low, other_high = i - low, i + 1, high
      if size < high - i then
        high = i - 1
      else
        size, other_low, other_high = high - i, low, i - 1
        low = i + 1
      end
      if other_low < other_high then
        local other_bits = bits
        if (other_high - other_low) >> 7 > size then other_bits = random_bits() end
        if low < high then
          waiting = waiting or {}
          waiting[count + 1] = other_low
          waiting[count + 2] = other_high
          waiting[count + 3] = other_bits
          count = count + 3
        else
          low, high, bits = other_low, other_high, other_bits
        end
        goto part
      end
    end
  end
  if count > 0 then
    low, high, bits = waiting[count - 2], waiting[count - 1], waiting[count]
    count = count - 3
    goto part
  end
end
