# The rooms of the house and what each may include (itself always). `make` builds one static library a room; a unit test
# links only what its room may use; `make lint` checks every #include against this table. Arrows point one way.
LAYERS := base message proto policy route conf io cards store session msa mta mda access auth admin drop

USES_base    :=
USES_drop    :=
USES_message := base
USES_proto   := base message
USES_policy  := base message
USES_route   := base message
USES_conf    := base message route
USES_io      := base message route conf
USES_cards   := base message route conf io
USES_store   := base message route conf io
USES_session := base message proto policy route conf io store
USES_msa     := base message proto policy route conf io store session
USES_mta     := base message proto policy route conf io store session
USES_mda     := base message proto policy route conf io store session
USES_access  := base message proto policy route conf io store session
USES_auth    := base message proto policy route conf io session
USES_admin   := base message proto policy route conf io cards store session msa mta mda access auth

# The pure rooms: no socket, no file, no clock.
PURE := base message proto policy route
