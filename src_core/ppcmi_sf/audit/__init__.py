"""The privacy audit: attacks on a site's own models and latents, and a report of what they get.

:mod:`~ppcmi_sf.audit.subject` holds what is attacked, :mod:`~ppcmi_sf.audit.exposure` gives what an
attacker sees of it, :mod:`ppcmi_sf.audit.attacks` has one module for each attack, and
:mod:`~ppcmi_sf.audit.run` runs them. The numbers are what these attackers got, with these data and
this budget: a stronger attacker, or a longer training, may get more.
"""
