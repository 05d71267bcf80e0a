"""Ground floor: what agents say and do. Knows nothing of the floors above."""
