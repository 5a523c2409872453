"""The pool: the durable store of everything that was drawn, and the only door to the database.

It knows nothing of models, operators or graders. One file (SQLite, write-ahead log), one writer thread per open pool,
many processes at once on one machine. Limits: not on network file systems; at most 2**32 samples a stream.
"""

from vervet.pool.coding import stored_precision
from vervet.pool.rows import AnswerRow, CallTime, ForecastRow, PoolInfo, RunRow, UseRow
from vervet.pool.store import SqlitePool, open_pool

__all__ = [
    "AnswerRow",
    "CallTime",
    "ForecastRow",
    "PoolInfo",
    "RunRow",
    "SqlitePool",
    "UseRow",
    "open_pool",
    "stored_precision",
]
