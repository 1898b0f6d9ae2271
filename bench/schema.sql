-- The two tables of the benchmark. They have no keys and no indexes: what is
-- measured is the load, not the upkeep of an index.

CREATE TABLE lineitem (
    l_orderkey      int8          NOT NULL,
    l_partkey       int8          NOT NULL,
    l_suppkey       int8          NOT NULL,
    l_linenumber    int4          NOT NULL,
    l_quantity      numeric(15,2) NOT NULL,
    l_extendedprice numeric(15,2) NOT NULL,
    l_discount      numeric(15,2) NOT NULL,
    l_tax           numeric(15,2) NOT NULL,
    l_returnflag    char(1)       NOT NULL,
    l_linestatus    char(1)       NOT NULL,
    l_shipdate      date          NOT NULL,
    l_commitdate    date          NOT NULL,
    l_receiptdate   date          NOT NULL,
    l_shipinstruct  char(25)      NOT NULL,
    l_shipmode      char(10)      NOT NULL,
    l_comment       varchar(44)   NOT NULL
);

CREATE TABLE sensor (
    ts     timestamptz NOT NULL,
    device int4        NOT NULL,
    v1     float8      NOT NULL,
    v2     float8      NOT NULL,
    v3     float8      NOT NULL,
    seq    int8        NOT NULL,
    ok     bool        NOT NULL
);
