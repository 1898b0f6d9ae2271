-- Where examples/seattle-weather.csv goes.
CREATE TABLE IF NOT EXISTS public.seattle_weather (
    date          date PRIMARY KEY,
    precipitation numeric(5,1) NOT NULL,  -- mm
    temp_max      numeric(4,1) NOT NULL,  -- °C
    temp_min      numeric(4,1) NOT NULL,  -- °C
    wind          real NOT NULL,          -- m/s
    weather       text NOT NULL
);
