"""What usage costs: prices, exact amounts, invoices.

In come exact quantities and prices; out go lines whose amounts are exact until each is rounded
once, half-even, to the currency's minor unit. Everything here is pure: no socket, no database, no
clock, and no binary fractions.
"""
